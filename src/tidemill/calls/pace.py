"""How many attempts a second may go, where the far side refuses some: found out from what it lets through."""

from __future__ import annotations

from collections import deque
from typing import Final

SHARE: Final = 0.95
NEAR_RATIO: Final = 0.9
DOUBLING_S: Final = 0.35
PROBE_RATIO: Final = 0.02
PROBE_GROWTH: Final = 1.15
ROUND_S: Final = 0.5
SLOWEST_S: Final = 1.0
"""Seconds between two attempts at most: who is refused for longer asks no more often, and no less."""
EXPRESSED: Final = 4
"""Calls in flight from which on their number, and not their rate, is what is bounded."""


FEW_ATTEMPTS: Final = 32
STRAY_RATIO: Final = 0.3
"""Refusals below this share may not depend on the pace at all: one server of several that is full, say."""
BRIEF_S: Final = 0.01
"""Latencies below this are taken for this, where the pace is compared with what the calls in flight come to."""


class Throughput:
    """Good replies, counted by steps of a quarter of a second over the last minute.

    Attributes:
        refused_ratio: of the last few dozen attempts, the share that was refused.
    """

    STEP_S: Final = 0.25
    STEPS: Final = 240
    _PER_S: Final = 4

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int]] = deque(maxlen=self.STEPS)  # a step's number, its replies
        self._number = self._replies = 0  # of the present step
        self.refused_ratio = 0.0

    def add(self, now: float) -> None:
        """One good reply came."""
        if self.refused_ratio:
            self.refused_ratio -= self.refused_ratio / FEW_ATTEMPTS
        number = int(now * self._PER_S)
        if number != self._number:
            self._steps.append((self._number, self._replies))
            self._number, self._replies = number, 0
        self._replies += 1

    def refuse(self) -> None:
        """One attempt was refused."""
        self.refused_ratio += (1 - self.refused_ratio) / FEW_ATTEMPTS

    def lately(self, now: float, over_s: float = 60.0) -> float:
        """Good replies a second over the last `over_s` seconds, or since the first."""
        first = next((number for number, replies in self._steps if replies), self._number)
        return self.per_second(now, min(over_s, now - first * self.STEP_S))

    def per_second(self, now: float, over_s: float) -> float:
        """Good replies a second over the last `over_s` seconds, in whole steps."""
        first = int((now - over_s) * self._PER_S)
        total = self._replies if self._number >= first else 0
        for number, replies in reversed(self._steps):
            if number < first:
                break
            total += replies
        return total / max(self.STEP_S, now - first * self.STEP_S)


class Pace:
    """A bound on attempts a second; a pure state machine.

    There is none until attempts are refused (429) so slowly that a number in flight cannot express it. It is then what
    was let through lately, taking in the time in which nothing was; grows quickly back to near that rate and slowly
    beyond it (additive increase, multiplicative decrease, on the rate); a row of refusals halves it, down to one
    attempt a second. Where few are refused, whatever the pace, it keeps to half of what a minute carried.

    Attributes:
        rate: attempts a second, infinity for no bound.
    """

    def __init__(self) -> None:
        self.rate = float("inf")
        self._mark = 0.0
        self._probe_ratio = PROBE_RATIO
        self._next_at = float("-inf")
        self._grown_at = 0.0
        self._cycle_at: float | None = None
        self._cycle_s = 0.0
        self._refused_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is bounded."""
        return self.rate == float("inf")

    def wait_s(self, now: float) -> float:
        """Seconds until the next attempt may go."""
        return self._next_at - now

    def take(self, now: float) -> None:
        """An attempt goes."""
        if self.rate != float("inf"):
            self._next_at = max(self._next_at, now - 1.0 / self.rate) + 1.0 / self.rate

    def throttle(self, now: float, throughput: Throughput) -> None:
        """An attempt sent at this rate was refused."""
        if self._refused_since is None:
            self._refused_since = now
            cycle_s = 0.0 if self._cycle_at is None else now - self._cycle_at
            if cycle_s >= self._cycle_s / 2:
                self._mark = throughput.per_second(now, min(60.0, max(1.0, cycle_s))) or float("inf")
            self.rate = 0.0 if self._mark == float("inf") else min(self.rate, SHARE * self._mark)
        else:
            self.rate /= 2
        if throughput.refused_ratio < STRAY_RATIO:
            self.rate = max(self.rate, throughput.lately(now) / 2)
        self.rate = max(self.rate, 1.0 / SLOWEST_S)
        self._next_at = max(self._next_at, now) + 1.0 / self.rate
        self._probe_ratio = PROBE_RATIO
        self._grown_at = now

    def succeed(self, now: float, throughput: Throughput, *, latency_s: float, limit: int, is_again: bool) -> None:
        """An attempt was let through; `is_again` says that it was sent after the last refusal."""
        if self.rate == float("inf"):
            return
        if self._refused_since is not None:
            if not is_again:
                return
            self._end_refusals(now, throughput)
        passed_s = min(now - self._grown_at, ROUND_S)
        if passed_s <= 0.0:
            return
        self._grown_at = now
        if self.rate < NEAR_RATIO * self._mark:
            self.rate = min(self.rate * 2 ** (passed_s / DOUBLING_S), NEAR_RATIO * self._mark)
        else:
            self.rate *= 1 + self._probe_ratio * passed_s / ROUND_S
            self._probe_ratio = min(1.0, self._probe_ratio * PROBE_GROWTH ** (passed_s / ROUND_S))
        if self.rate * max(latency_s, BRIEF_S) > 2 * limit:
            self.rate = float("inf")

    def _end_refusals(self, now: float, throughput: Throughput) -> None:
        """It lets through again: what it let through since it last began to, pause included, is what it carries.

        A cycle much shorter than the last is none: a window lets some through before it refuses again.
        """
        self._refused_since = None
        cycle_s = 0.0 if self._cycle_at is None else now - self._cycle_at
        if cycle_s > max(1.0, self._cycle_s / 2):
            self._cycle_s = cycle_s
            self._mark = throughput.per_second(now, min(60.0, cycle_s))
        elif self._cycle_at is not None and self._cycle_s:
            return
        if self._cycle_at is not None:
            self.rate = max(self.rate, NEAR_RATIO * min(self._mark, throughput.lately(now)))
        self._cycle_at = now
