"""Requests and tokens per minute: when the next attempt may go."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from tidemill.errors import ConfigError

WINDOW_S: Final = 60.0
SHARE_RATIO: Final = 0.98
"""The share of a limit that is used: what is left over covers the burst and the network's jitter."""
BURST_S: Final = 1.0
_BUCKET_S: Final = 0.1


class Cost(NamedTuple):
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


class Reservation(NamedTuple):
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
        self._measures = [(name, _Measure(rate)) for name, rate in rates._asdict().items() if rate is not None]

    @property
    def counts_tokens(self) -> bool:
        """Whether it limits more than requests."""
        return any(self.rates[1:])

    def change(self, rates: QuotaRates) -> None:
        """Go by other limits from now on; what went under the old ones counts."""
        with self._lock:
            known = dict(self._measures)
            self.rates = rates
            self._measures = []
            for name, rate in rates._asdict().items():
                if rate is not None:
                    measure = known.get(name) or _Measure(rate)
                    measure.change(rate)
                    self._measures.append((name, measure))

    def take(self, now: float, cost: Cost = NO_COST) -> float:
        """0.0 when an attempt may go now, which is then reserved; else the seconds until one may, nothing reserved."""
        with self._lock:
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
    """One limit of a quota.

    Two rules, both of which must allow: the generic cell rate algorithm (ITU-T I.371) at 0.98 N / 60 a second with
    one second of burst, or the size of the one that goes where that is more; and what a log of the last 60 s, in
    steps of 0.1 s, sums up to. For units of one the first alone holds a closed window of 60 s to
    `floor(0.98 N + max(1, 0.98 N / 60)) <= N`; the log does where single ones are large.
    """

    __slots__ = ("_burst_s", "_due_s", "_interval_s", "_limit", "_log", "_logged")

    def __init__(self, per_minute: int) -> None:
        self._due_s = float("-inf")
        self._log: deque[list[float]] = deque()  # [newest time in the step, amount, oldest time]; the oldest first
        self._logged = 0.0
        self.change(per_minute)

    def change(self, per_minute: int) -> None:
        self._limit = per_minute
        self._interval_s = WINDOW_S / (SHARE_RATIO * per_minute)
        self._burst_s = max(BURST_S, self._interval_s)

    def wait_s(self, now: float, amount: int) -> float:
        """The seconds until `amount` may go, at most 0.0 for now."""
        amount = min(amount, self._limit)
        length_s = amount * self._interval_s
        wait_s = self._due_s - max(0.0, self._burst_s - length_s) - now
        self._forget(now)
        over = self._logged + amount - self._limit
        if over > 0:
            for at, logged, _ in self._log:
                over -= logged
                if over <= 0:
                    return max(wait_s, _just_after(at + WINDOW_S) - now)
        return wait_s

    def add(self, now: float, amount: int) -> None:
        self._due_s = max(self._due_s, now) + amount * self._interval_s
        log = self._log
        self._logged += amount
        if log and now - log[-1][2] < _BUCKET_S:
            log[-1][0] = max(log[-1][0], now)
            log[-1][1] += amount
        else:
            log.append([now, amount, now])

    def subtract(self, at: float, amount: int) -> None:
        self._due_s -= amount * self._interval_s
        for step in reversed(self._log):
            if step[2] <= at:
                given = min(step[1], amount) if step[0] >= at else 0
                step[1] -= given
                self._logged -= given
                return

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
