"""What a lane's far side takes: the calls in flight, the attempts a second, the pauses it asks for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from tidemill.calls.admission.allowance import Allowance, Told, find_told, tells_allowance
from tidemill.calls.admission.concurrency import AdaptiveLimit, ConcurrencyRange
from tidemill.calls.admission.pace import EXPRESSED, LONGEST_S, Pace
from tidemill.calls.admission.quota import Cost
from tidemill.calls.admission.strays import FEW_RATIO, Strays
from tidemill.calls.admission.throughput import Throughput

SOON_S: Final = 0.5
ENOUGH: Final = 16
"""What was carried is measured over the time of a call, over so long and so many attempts at least."""
SPACED_S: Final = 60.0
SPACING: Final = 1.25
"""For so long behind a refusal, calls go apart as they would if they took turns, at that many times the rate."""
LONG_ROW: Final = 3
"""Refusals in a row from which on it is not the number in flight that is too high: a window is used up."""


class Ticket(Struct, frozen=True):
    """What was noted of an attempt when it was sent.

    Attributes:
        at: when.
        cost: what it was taken to cost.
        epoch: the limit in force.
        places: its place in each allowance.
    """

    at: float
    cost: Cost
    epoch: int
    places: tuple[float, ...]


class Governor:
    """Finds out how fast one far side may be asked; a pure state machine.

    Joins an adaptive limit on the calls in flight, a pace where refusals show that a number in flight cannot express
    the bound, what the replies' headers say is left, and the pauses that are asked for. All but the limit are waited
    for through `wait_s`.

    Attributes:
        limit: on the calls in flight.
        is_open: there is nothing to wait for.
        refused_since: since when every answer was a refusal; None while the last one was not.

    Args:
        bounds: of the limit.
        longest_s: seconds between two attempts at most where all are refused.
        wall: gives the seconds since the epoch, which some headers count in.
    """

    def __init__(
        self,
        bounds: ConcurrencyRange,
        *,
        rng: random.Random,
        longest_s: float = LONGEST_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._longest_s = longest_s
        self.limit = AdaptiveLimit(bounds)
        self._rng = rng
        self._pace = Pace(self._longest_s)
        self._throughput = Throughput()
        self._strays = Strays()
        self._allowances: tuple[Allowance, ...] = ()
        self._paused_until = float("-inf")
        self.is_open = True
        self.refused_since: float | None = None
        self._refused_at = self._next_at = self._spaced_until = float("-inf")
        self._row = 0

    def wait_s(self, now: float, cost: Cost) -> float:
        """Seconds until an attempt of this cost may go, at most 0.0 for now."""
        wait_s = max(self._paused_until - now, self._pace.wait_s(now), self._next_at - now)
        for allowance in self._allowances:
            wait_s = max(wait_s, allowance.wait_s(now, cost))
        if wait_s <= 0.0 and not self._allowances and self._pace.is_open and now >= self._spaced_until:
            self.is_open = True
        return wait_s

    def send(self, now: float, cost: Cost) -> Ticket:
        """An attempt goes."""
        self._throughput.send(now)
        self._pace.take(now)
        if now < self._spaced_until:
            # Calls that go together come back together: spread over the time of a call, they leave no quota unused.
            gap_s = self.limit.latency_s / (SPACING * self.limit.limit)
            self._next_at = max(self._next_at, now - gap_s) + gap_s
        if not self._allowances:
            return Ticket(now, cost, self.limit.epoch, ())
        places = tuple(allowance.send(now, cost) for allowance in self._allowances)
        return Ticket(now, cost, self.limit.epoch, places)

    @property
    def counts_tokens(self) -> bool:
        """Whether what an attempt costs matters."""
        return any(allowance.measure != "requests" for allowance in self._allowances)

    def withdraw(self, ticket: Ticket) -> None:
        """It was not sent after all."""
        self._throughput.withdraw(ticket.at)
        for allowance, place in zip(self._allowances, ticket.places, strict=False):
            allowance.refuse(place, ticket.cost)

    def succeed(self, now: float, ticket: Ticket, *, is_used: bool, headers: Mapping[str, str]) -> None:
        """It was answered well; `is_used` says that nothing but the limit in flight held others back."""
        self.limit.succeed(now, epoch=ticket.epoch, latency_s=now - ticket.at, is_used=is_used)
        self.let_through(now, ticket, headers=headers)

    def let_through(self, now: float, ticket: Ticket, *, headers: Mapping[str, str]) -> None:
        """It was let through, whatever came of it."""
        self.refused_since = None
        if ticket.at >= self._refused_at:
            self._row = 0
        if not self._pace.is_open:
            is_again = ticket.at >= self._refused_at
            latency_s, limit = now - ticket.at, self.limit.limit
            self._pace.succeed(now, self._throughput, latency_s=latency_s, limit=limit, is_again=is_again)
        if tells_allowance(headers):
            self._note(now, ticket, headers)

    def throttle(
        self,
        now: float,
        ticket: Ticket,
        *,
        retry_after_s: float | None,
        headers: Mapping[str, str],
    ) -> None:
        """It was refused (429)."""
        self.is_open = False
        self._throughput.refuse(ticket.at)
        if self.refused_since is None:
            self.refused_since = now
        for allowance, place in zip(self._allowances, ticket.places, strict=False):
            allowance.refuse(place, ticket.cost)
        is_told = tells_allowance(headers) and self._note(now, ticket, headers)
        if retry_after_s is not None:
            # A little more, so that several processes told the same do not come back at once.
            self._pause(now + retry_after_s + self._rng.uniform(0.0, min(0.5, retry_after_s / 10)))
        is_same = ticket.at < self._refused_at  # sent before the last refusal was known, it is of the same event
        if is_same or self._strays.are_known(now, self._throughput.refused_ratio):
            return
        self._refused_at = now
        if not is_told:
            self._slow_down(now, ticket, retry_after_s)

    def _slow_down(self, now: float, ticket: Ticket, retry_after_s: float | None) -> None:
        """Ask for less, where nothing but the refusal says that it was too much."""
        self._spaced_until = now + SPACED_S
        self._row += 1
        lately = self._carried(now)
        if self._find_strays(now, lately):
            return
        if self._row == 1 and self.limit.limit > EXPRESSED:  # below that, it is the pace that is bounded
            self.limit.throttle(now, ticket.epoch, throughput=lately, floor=EXPRESSED)
        if retry_after_s is not None and self._pace.is_open and self._throughput.refused_ratio < FEW_RATIO:
            return  # few are refused, and the pause that was asked for may be all there is to it
        is_expressed = self.limit.limit > EXPRESSED and self._row < LONG_ROW
        if not is_expressed or not self._pace.is_open:
            self._pace.throttle(now, self._throughput)
        elif retry_after_s is None and lately > 0.0:
            self._pause(now + 2 ** (self._row - 1) * self._rng.uniform(0.5, 1.5) / lately)

    def _find_strays(self, now: float, carried: float) -> bool:
        """Whether the last refusals are found to have come however little was asked: back to what was, then."""
        if self._row > 1:
            return False
        ratio, before = self._throughput.refused_ratio, self._throughput.sustained(now)
        again = self._strays.find(now, carried=carried, before=before, ratio=ratio)
        if not again:
            return False
        self.limit.restore(again)
        self._pace = Pace(self._longest_s)
        return True

    def _carried(self, now: float) -> float:
        """Attempts a second that were let through lately."""
        return self._throughput.per_second(now, max(SOON_S, self.limit.latency_s), least=ENOUGH)

    def overload(self, now: float, ticket: Ticket) -> None:
        """It met an overloaded server (503, 529)."""
        self.limit.overload(now, ticket.epoch, throughput=self._carried(now))

    def time_out(self, ticket: Ticket) -> None:
        """It was not answered in time."""
        self.limit.time_out(ticket.epoch)

    def restart(self) -> None:
        """The far side is back after an outage."""
        self.limit.restart()

    def _pause(self, until: float) -> None:
        self._paused_until = max(self._paused_until, until)

    def _note(self, now: float, ticket: Ticket, headers: Mapping[str, str]) -> bool:
        """Take in what the headers say is left; whether that is so little that it explains a refusal."""
        told = {each.measure: each for each in find_told(headers, wall_s=self._wall())}
        if not told:
            return False
        new = told.keys() - {allowance.measure for allowance in self._allowances}
        if new:
            self._allowances += tuple(Allowance(name, self._find_most(told[name])) for name in sorted(new))
            self.is_open = False
        is_spent = False
        for allowance, place in zip(self._allowances, ticket.places, strict=False):
            if (each := told.get(allowance.measure)) is not None:
                allowance.note(each, place=place, sent_at=ticket.at, now=now)
                is_spent = is_spent or each.remaining < max(1, ticket.cost.measure(each.measure))
        return is_spent

    def _find_most(self, told: Told) -> float:
        """What there was of a measure before the calls that are in flight now, when the first of them is answered."""
        return told.remaining + (self.limit.limit if told.measure == "requests" else 0)
