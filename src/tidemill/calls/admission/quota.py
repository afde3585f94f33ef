"""Requests and tokens per minute: when the next attempt may go."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from msgspec import Struct

from tidemill.errors import ConfigError

WINDOW_S: Final = 60.0
SHARE_RATIO: Final = 0.98
"""The share of a limit that is used: what is left over covers the burst and the network's jitter."""
BURST_S: Final = 0.1
"""Little, so that a far side that counts by the second is not passed either; more than a busy loop is late."""
_BUCKET_S: Final = 0.1
LATE_S: Final = 0.05
"""So long somebody whose turn has come is waited for."""


class Cost(Struct, frozen=True, gc=False):
    """What an attempt takes from a quota: one request, its tokens both ways."""

    input_tokens: int = 0
    output_tokens: int = 0

    def measure(self, name: str) -> int:
        """What it takes of the measure called `name`."""
        match name:
            case "requests":
                return 1
            case "input_tokens":
                return self.input_tokens
            case "output_tokens":
                return self.output_tokens
            case _:
                return self.input_tokens + self.output_tokens


NO_COST: Final = Cost()


class QuotaRates(NamedTuple):
    """What may go per minute; None for no such limit."""

    requests: int | None = None
    tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Reservation(Struct, frozen=True):
    """What was taken from a quota, and when."""

    at: float
    cost: Cost


class Quota:
    """At most so many requests and tokens in any 60 s, wherever the 60 s start; a pure state machine.

    All its measures are reserved at once or none. `take` never lets more than the limit go in a closed window of
    60 s, by what was reserved; what `settle` adds beyond a reservation is a debt, which those that follow wait out.
    One request larger than a limit of tokens goes when the window is empty: the far side says what it makes of it.

    May be used from several threads: those of one name share one.
    """

    def __init__(self, rates: QuotaRates) -> None:
        self.rates = rates
        self._lock = threading.Lock()  # guards the measures: loops of several threads may share them
        self._claims: dict[object, float] = {}  # who waits, the longest first, and when its turn comes
        self._measures: list[tuple[str, _Measure]] = []
        self._requests: _Measure | None = None
        self.change(rates)

    @property
    def counts_tokens(self) -> bool:
        """Whether it limits more than requests."""
        return any(self.rates[1:])

    def change(self, rates: QuotaRates) -> None:
        """Go by other limits from now on; what went under an old limit counts for the new one of the same measure."""
        with self._lock:
            known = dict(self._measures)
            self.rates = rates
            self._measures = []
            for name, rate in rates._asdict().items():
                if rate is not None:
                    measure = known.get(name) or _Measure(rate)
                    measure.change(rate)
                    self._measures.append((name, measure))
            self._requests = None if self.counts_tokens or not self._measures else self._measures[0][1]

    def take(self, now: float, cost: Cost = NO_COST, *, owner: object = None) -> float:
        """0.0 when an attempt may go now, which is then reserved; else the seconds until one may, nothing reserved.

        Args:
            owner: who asks, where several share the quota. One that has to wait is not overtaken by the others.
        """
        with self._lock:
            if owner is not None:
                return self._take_in_turn(now, cost, owner)
            return self._take(now, cost)

    def _take_in_turn(self, now: float, cost: Cost, owner: object) -> float:
        for first, ready_at in list(self._claims.items()):
            if first is owner:
                break
            if now < ready_at + LATE_S:
                return max(ready_at - now, 0.0) + LATE_S / 10
            del self._claims[first]  # it has not come for it: the call was cancelled
        wait_s = self._take(now, cost)
        if wait_s > 0.0:
            self._claims[owner] = now + wait_s
        else:
            self._claims.pop(owner, None)
        return wait_s

    def _take(self, now: float, cost: Cost) -> float:
        if self._requests is not None:  # alone, as most are
            wait_s = self._requests.wait_s(now, 1)
            if wait_s > 0.0:
                return wait_s
            self._requests.add(now, 1)
            return 0.0
        wait_s = 0.0
        for name, measure in self._measures:
            wait_s = max(wait_s, measure.wait_s(now, cost.measure(name)))
        if wait_s <= 0.0:
            for name, measure in self._measures:
                measure.add(now, cost.measure(name))
        return wait_s

    def refund(self, reservation: Reservation) -> None:
        """What was reserved was not sent: nothing of it counts."""
        with self._lock:
            for name, measure in self._measures:
                measure.subtract(reservation.at, reservation.cost.measure(name))

    def settle(self, now: float, reservation: Reservation, used: Cost) -> None:
        """The attempt came to `used` tokens: the rest of its reservation is free, what is beyond it is a debt."""
        with self._lock:
            for name, measure in self._measures:
                more = used.measure(name) - reservation.cost.measure(name)
                if more > 0:
                    measure.add(now, more)
                elif more < 0:
                    measure.subtract(reservation.at, -more)


class _Measure:
    """One limit: the generic cell rate algorithm (ITU-T I.371), and what a log of the last 60 s sums up to.

    The first spaces: 0.98 N / 60 a second with a tenth of a second of burst, or the size of the one that goes where
    that is more. For units of one, a closed window of 60 s then holds at most `floor(0.98 N + max(1, 0.98 N / 600)) <=
    N`. The log, in steps of 0.1 s, holds where that alone does not: of larger units, and behind another limit.
    """

    __slots__ = ("_began_at", "_burst_s", "_due_s", "_interval_s", "_limit", "_log", "_logged", "_step")

    def __init__(self, per_minute: int) -> None:
        self._due_s = float("-inf")
        self._began_at = float("-inf")
        self._step = [0.0, 0.0, float("-inf")]  # the newest time in it, the amount, the oldest time
        self._log: deque[list[float]] = deque()  # of steps; the oldest first
        self._logged = 0.0
        self.change(per_minute)

    def change(self, per_minute: int) -> None:
        """Go by another limit; what has gone counts."""
        self._limit = per_minute
        self._interval_s = WINDOW_S / (SHARE_RATIO * per_minute)
        self._burst_s = max(BURST_S, self._interval_s)

    def wait_s(self, now: float, amount: int) -> float:
        """The seconds until `amount`, at most all of the limit, may go; at most 0.0 for now."""
        if amount > self._limit:
            amount = self._limit
        spare_s = self._burst_s - amount * self._interval_s
        ready_at = self._due_s - spare_s if spare_s > 0.0 else self._due_s
        wait_s = ready_at - now  # in this order: who waits just so long finds 0.0
        if self._logged + amount > self._limit:
            return max(wait_s, self._wait_for_log(now, amount))
        return wait_s

    def add(self, now: float, amount: int) -> None:
        """So much goes, or has gone beyond what was reserved."""
        if self._due_s <= now:  # what was earlier is used up: a refund of it makes room no more
            self._due_s = self._began_at = now
        self._due_s += amount * self._interval_s
        self._logged += amount
        step = self._step
        if now - step[2] < _BUCKET_S:
            step[1] += amount
            if now > step[0]:
                step[0] = now
        else:
            self._forget(now)
            self._step = [now, amount, now]
            self._log.append(self._step)

    def subtract(self, at: float, amount: int) -> None:
        """So much of what went at `at` did not go after all."""
        if at >= self._began_at:
            self._due_s -= amount * self._interval_s
        for step in reversed(self._log):
            if step[2] <= at:
                given = min(step[1], amount) if step[0] >= at else 0
                step[1] -= given
                self._logged -= given
                return

    def _wait_for_log(self, now: float, amount: int) -> float:
        """The seconds until the last 60 s leave room for `amount`, 0.0 where they do."""
        self._forget(now)
        over = self._logged + amount - self._limit
        for at, logged, _ in self._log:
            if over <= 0:
                break
            over -= logged
            if over <= 0:
                return _just_after(at + WINDOW_S) - now
        return 0.0

    def _forget(self, now: float) -> None:
        log = self._log
        while log and now - log[0][0] > WINDOW_S:
            self._logged -= log.popleft()[1]


def _just_after(moment: float) -> float:
    """So far behind `moment` that a window closed on both sides no longer holds it."""
    return moment + 1e-6


_named: WeakValueDictionary[str, Quota] = WeakValueDictionary()
_naming = threading.Lock()  # guards `_named`


def share_quota(name: str | None, rates: QuotaRates) -> Quota:
    """The quota of this process called `name`, made when there is none; without a name a new one.

    Raises:
        ConfigError: the one of that name, which is in use, has other limits.
    """
    if name is None:
        return Quota(rates)
    with _naming:
        quota = _named.get(name)
        if quota is None:
            quota = _named[name] = Quota(rates)
        elif quota.rates != rates:
            raise ConfigError(
                f"limits named `{name}` are in use with other numbers",
                hint="give all models of one name the same requests and tokens per minute, or another name",
            )
        return quota
