"""When a lane's attempts may go: a slot, the limits per minute, and what the far side is found to take."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Final

from tidemill.calls.admission.estimates import TokenEstimates
from tidemill.calls.admission.gates import SlotGate, TimedGate
from tidemill.calls.admission.governor import Governor, Ticket
from tidemill.calls.admission.quota import NO_COST, Cost, Reservation, share_quota
from tidemill.calls.limits import Limits
from tidemill.calls.meter import Meter
from tidemill.calls.wire import Request, Response, Usage

OVERLOADED: Final = frozenset({503, 529})
"""Statuses by which a server says that it has too much to do; 529 is Anthropic's."""


PACED_RATIO: Final = 0.25
"""Of the time of a call: whoever waits longer for its turn is kept back by the pace, not by the number in flight."""


class Entry:
    """What one call holds of its lane's admission.

    Attributes:
        request: what is to be sent.
        is_begun: its first attempt was sent: it goes in front of those whose was not.
        has_slot: it holds a slot.
        waited_us: microseconds that it has waited in front of its attempts, by what for; None where it did not.
        paced_s: how long its attempts have waited for the limits per minute and for what the far side takes.
        cost: the tokens its next attempt is expected to come to, where that matters.
        reservation: what that has reserved of the limits per minute.
        ticket: what was noted of it when it was let go.
    """

    __slots__ = ("cost", "has_slot", "is_begun", "paced_s", "request", "reservation", "ticket", "waited_us")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.is_begun = self.has_slot = False
        self.cost = NO_COST
        self.paced_s = 0.0
        self.waited_us: dict[str, int] | None = None
        self.reservation: Reservation | None = None
        self.ticket: Ticket | None = None


class Admission:
    """Lets the attempts of one lane go. Belongs to one event loop.

    Args:
        limits: the bounds; those per minute are shared by all lanes whose limits have the same name.
        estimates: of what an attempt comes to.
    """

    def __init__(self, limits: Limits, *, meter: Meter, rng: random.Random, estimates: TokenEstimates) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._meter = meter
        self._estimates = estimates
        self._governor = Governor(limits.to_range(), rng=rng, longest_s=limits.outage_s / 10)
        self._slots = SlotGate(self._governor.limit)
        self._pacing = TimedGate(self._loop)
        rates = limits.to_rates()
        self._quota = share_quota(limits.name, rates) if any(rates) else None
        self._owner = None if limits.name is None else self

    @property
    def limit(self) -> int:
        """Calls in flight at most, now."""
        return self._governor.limit.limit

    @property
    def refused_since(self) -> float | None:
        """Since when every answer was a refusal (429); None while the last one was not."""
        return self._governor.refused_since

    @property
    def is_open(self) -> bool:
        """Whether whoever has a slot may go at once."""
        return self._quota is None and self._governor.is_open

    def change(self, limits: Limits) -> None:
        """Go by other limits from now on."""
        before, self._limits = self._limits, limits
        if limits.to_range() != before.to_range():
            self._governor.limit.change(limits.to_range())
        rates = limits.to_rates()
        if rates != before.to_rates():
            if self._quota is None:
                self._quota = share_quota(limits.name, rates)
            self._quota.change(rates)
        self._slots.serve()
        self._pacing.serve()

    def try_enter(self, entry: Entry) -> bool:
        """Whether a slot is there at once, and the entry's turn; it is then taken."""
        entry.has_slot = self._slots.take(again=entry.is_begun)
        return entry.has_slot

    async def enter(self, entry: Entry) -> None:
        """Take a slot when it is the entry's turn."""
        waits_since = self._loop.time()
        await self._slots.wait(again=entry.is_begun)
        entry.has_slot = True
        self.note_wait(entry, "slots", waits_since)

    def leave(self, entry: Entry) -> None:
        """Give the slot back, if it holds one."""
        if entry.has_slot:
            entry.has_slot = False
            self._slots.release()

    def send(self, entry: Entry) -> None:
        """Let the entry's attempt go where admission is open."""
        entry.ticket = self._governor.send(self._loop.time(), NO_COST)

    def try_admit(self, entry: Entry) -> bool:
        """Whether the entry's attempt may go at once; its ticket, and its reservation, are then taken."""
        return self._pacing.take(partial(self._take, entry), again=entry.is_begun)

    async def admit(self, entry: Entry) -> None:
        """Wait until the entry's attempt may go; its ticket, and its reservation, are then taken."""
        waits_since = self._loop.time()
        take, give_back = partial(self._take, entry), partial(self.give_back, entry)
        await self._pacing.wait(take, give_back, again=entry.is_begun)
        entry.paced_s += self.note_wait(entry, "limits", waits_since)

    def give_back(self, entry: Entry) -> None:
        """The attempt that was let go is not sent, or did not arrive: nothing of it counts."""
        if entry.reservation is not None and self._quota is not None:
            self._quota.refund(entry.reservation)
            entry.reservation = None
        if entry.ticket is not None:
            self._governor.withdraw(entry.ticket)
            entry.ticket = None
        self._pacing.serve()

    def note_answer(self, entry: Entry, response: Response, usage: Usage | None) -> None:
        """A usable answer came to the entry's attempt."""
        ticket, entry.ticket = entry.ticket, None
        if ticket is None:
            return
        governor, now = self._governor, self._loop.time()
        before = governor.limit.limit
        is_used = (
            not governor.limit.is_fixed and self._slots.is_used and entry.paced_s <= PACED_RATIO * (now - ticket.at)
        )
        governor.succeed(now, ticket, is_used=is_used, headers=response.headers)
        if governor.limit.limit > before:
            self._slots.serve()
        if usage is not None and not self.is_open and self._counts_tokens:
            self._settle(entry, usage, now)
        if not governor.is_open:
            self._pacing.serve()

    def note_refusal(self, entry: Entry, response: Response, retry_after_s: float | None, *, is_calm: bool) -> None:
        """An answer without use came to it; `is_calm` says that nothing speaks of an outage."""
        ticket = entry.ticket
        if ticket is None:
            return
        if response.status == 429:
            now, headers = self._loop.time(), response.headers
            self._governor.throttle(now, ticket, retry_after_s=retry_after_s, headers=headers)
            entry.ticket = None
        elif response.status < 500:
            self._governor.let_through(self._loop.time(), ticket, headers=response.headers)
            entry.ticket = None
            self._pacing.serve()
        elif response.status in OVERLOADED and is_calm:
            self._governor.overload(self._loop.time(), ticket)

    def note_timeout(self, entry: Entry) -> None:
        """No answer came to it in time."""
        if entry.ticket is not None:
            self._governor.time_out(entry.ticket)

    def restart(self) -> None:
        """The far side is back after an outage."""
        self._governor.restart()
        self._slots.serve()

    def note_wait(self, entry: Entry, what: str, since: float) -> float:
        """Note the entry's wait for something; its seconds."""
        waited_s = self._loop.time() - since
        waited_us = entry.waited_us = entry.waited_us or {}
        waited_us[what] = waited_us.get(what, 0) + int(waited_s * 1e6)
        return waited_s

    def close(self) -> None:
        """Stop the timer."""
        self._pacing.close()

    @property
    def _counts_tokens(self) -> bool:
        """Whether what an attempt costs matters; others who share the limits may change that."""
        return (self._quota is not None and self._quota.counts_tokens) or self._governor.counts_tokens

    def _take(self, entry: Entry, now: float) -> float:
        """Take what the limits and the far side allow, all of it or nothing; the seconds to wait otherwise."""
        governor = self._governor
        if self._counts_tokens:
            entry.cost = self._estimates.estimate(entry.request)
        if not governor.is_open and (wait_s := governor.wait_s(now, entry.cost)) > 0.0:
            return wait_s
        if self._quota is not None:
            wait_s = self._quota.take(now, entry.cost, owner=self._owner)
            if wait_s > 0.0:
                return wait_s
            entry.reservation = Reservation(now, entry.cost)
        entry.ticket = governor.send(now, entry.cost)
        return 0.0

    def _settle(self, entry: Entry, usage: Usage, now: float) -> None:
        self._estimates.learn(entry.request, usage)
        if entry.reservation is not None and self._quota is not None:
            self._quota.settle(now, entry.reservation, Cost(usage.input_tokens, usage.output_tokens))
            entry.reservation = None
            self._pacing.serve()
