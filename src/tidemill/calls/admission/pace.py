"""How many attempts a second may go, where the far side refuses some: found out from what it lets through."""

from __future__ import annotations

from typing import Final

from tidemill.calls.admission.search import UNKNOWN, Course, Search
from tidemill.calls.admission.strays import FEW_RATIO
from tidemill.calls.admission.throughput import Throughput

SHARE: Final = 0.95
ROUND_S: Final = 0.5
"""A rate is known to be let through after so long."""
LATELY_S: Final = 1.0
"""What went through over so long may go again if it was more than the mark: calls in flight may be what is bounded."""
COURSE: Final = Course(probe_ratio=0.02, growth=1.15)
"""Slower than that of calls in flight: a rate too high is refused by whole windows (`test_governor`)."""
LONGEST_S: Final = 30.0
"""Seconds between two attempts at most, as far as nothing else is said. A row of refusals goes down to half of what a
minute carried, or one a second where that was more: less would leave a window unused that begins anew, and more would
be a storm where refusals count."""
EXPRESSED: Final = 4
"""Calls in flight from which on their number, and not their rate, is what is bounded."""
BRIEF_S: Final = 0.01
"""Latencies below this are taken for this, where the pace is compared with what the calls in flight come to."""


class Pace:
    """A bound on attempts a second; a pure state machine.

    There is none until attempts are refused (429) so slowly that a number in flight cannot express it. It is then what
    was let through lately, taking in the time in which nothing was; grows quickly back to near that rate and slowly
    beyond it (additive increase, multiplicative decrease, on the rate); a row of refusals halves it, down to half of
    what a minute carried, or one attempt a second. Where few are refused, it keeps to half of what a minute carried.

    Args:
        longest_s: seconds between two attempts at most.
    """

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._search: Search | None = None
        self._next_at = float("-inf")
        self._grown_at = 0.0
        self._cycle_at: float | None = None
        self._cycle_s = 0.0
        self._is_refused = False

    @property
    def rate(self) -> float:
        """Attempts a second, infinity for no bound."""
        return UNKNOWN if self._search is None else self._search.value

    @property
    def is_open(self) -> bool:
        """Whether nothing is bounded."""
        return self._search is None

    def wait_s(self, now: float) -> float:
        """Seconds until the next attempt may go."""
        return self._next_at - now

    def take(self, now: float) -> None:
        """An attempt goes."""
        if self._search is not None:
            gap_s = 1.0 / self._search.value
            self._next_at = max(self._next_at, now - gap_s) + gap_s

    def throttle(self, now: float, throughput: Throughput) -> None:
        """An attempt sent at this rate was refused."""
        search = self._search = self._search or Search(UNKNOWN, course=COURSE)
        rate, mark = search.value / 2, search.mark
        if not self._is_refused:
            self._is_refused = True
            mark = self._measure(now, mark, throughput)
            carried = max(mark, throughput.per_second(now, LATELY_S))
            rate = 0.0 if mark == UNKNOWN else min(search.value, SHARE * carried)
        if throughput.refused_ratio < FEW_RATIO:
            rate = max(rate, throughput.lately(now) / 2)
        search.fall(max(rate, min(1.0, max(throughput.lately(now) / 2, 1.0 / self._longest_s))), mark=mark)
        self._next_at = max(self._next_at, now + 1.0 / search.value)
        self._grown_at = now

    def _measure(self, now: float, mark: float, throughput: Throughput) -> float:
        """What was carried since it last began to let through, where that is long enough to say; else what was."""
        cycle_s = 0.0 if self._cycle_at is None else now - self._cycle_at
        if cycle_s < self._cycle_s / 2:
            return mark
        return throughput.per_second(now, min(60.0, max(1.0, cycle_s))) or UNKNOWN

    def succeed(self, now: float, throughput: Throughput, *, latency_s: float, limit: int, is_again: bool) -> None:
        """An attempt was let through; `is_again` says that it was sent after the last refusal."""
        search = self._search
        if search is None:
            return
        if self._is_refused:
            if not is_again:
                return
            self._end_refusals(now, search, throughput)
        passed_s = min(now - self._grown_at, ROUND_S)
        if passed_s <= 0.0:
            return
        self._grown_at = now
        search.grow(passed_s / ROUND_S)
        if search.value * max(latency_s, BRIEF_S) > 2 * limit:
            self._search = None

    def _end_refusals(self, now: float, search: Search, throughput: Throughput) -> None:
        """It lets through again: what it let through since it last began to, pause included, is what it carries.

        A cycle much shorter than the last is none: a window lets some through before it refuses again.
        """
        self._is_refused = False
        cycle_s = 0.0 if self._cycle_at is None else now - self._cycle_at
        if cycle_s > max(1.0, self._cycle_s / 2):
            self._cycle_s = cycle_s
            search.mark = throughput.per_second(now, min(60.0, cycle_s))
        elif self._cycle_at is not None and self._cycle_s:
            return
        search.value = max(search.value, min(search.mark, throughput.lately(now)))
        self._next_at = now
        self._cycle_at = now
