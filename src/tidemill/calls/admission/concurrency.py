"""How many calls may be in flight at once: found out from how the far side takes them."""

from __future__ import annotations

from typing import Final, NamedTuple

from tidemill.calls.admission.gradient import Gradient
from tidemill.calls.admission.search import UNKNOWN, Course, Search

DECREASE_RATIO: Final = 0.7
"""What is left of the limit after an event that says nothing better (CUBIC's beta, RFC 9438)."""
THROUGHPUT_SHARE: Final = 0.95
"""Of the calls that the far side was seen to carry, those that are sent after it refused one."""
LESS_RATIO: Final = 0.75
"""Of the limit: what was carried is less than that only where more than a few were too much; the rest is chance."""
REFUSED: Final = Course(probe_ratio=0.02, growth=1.5, least=1.0)
QUEUED: Final = Course(probe_ratio=0.02, growth=1.0, least=0.25)
"""Where a queue was met rather than a refusal, more calls gain little."""
TOLD_S: Final = 60.0
"""A server that refuses calls says itself what is too much: its latency is judged again after so long without."""
MANY: Final = 48
"""Attempts that make up the share of overloads: enough that chance alone seldom makes 5 % of them 15."""
OVERLOAD_RATIO: Final = 0.15
"""Of the last few dozen attempts: so many may meet an overload whatever is in flight."""
BRIEF_S: Final = 0.005
"""Latencies below this are taken for this: uvloop's clock goes by milliseconds, and what a loop adds is no queue."""


class ConcurrencyRange(NamedTuple):
    """Between which bounds the limit moves, and where it starts; `minimum == maximum` fixes it."""

    minimum: int
    start: int
    maximum: int


class AdaptiveLimit:
    """A limit on calls in flight that follows what the far side carries; a pure state machine.

    It grows only where it was really used: by one a reply at first (so it doubles in the time of a call), then, once
    a refusal, an overload or a timeout has shown a bound, quickly back to near that bound and slowly beyond it. It
    shrinks once an event: of the calls sent before a shrinking, only one is blamed. After a 429 it shrinks to what
    the far side was seen to carry (throughput times latency, Little's law), else by 0.7.

    Servers that queue silently are told by latency, see `Gradient`.

    Attributes:
        limit: calls in flight at most, now.
        is_fixed: it never moves.
        epoch: the number of shrinkings so far; a call carries the one it was sent in.
        latency_s: of good replies, lately; 0.0 before the first.
    """

    def __init__(self, bounds: ConcurrencyRange) -> None:
        self.epoch = 0
        self.latency_s = 0.0
        self._overloads = 0.0
        self._told_until = float("-inf")
        self.change(bounds)

    def change(self, bounds: ConcurrencyRange) -> None:
        """Move between other bounds from now on, from their start."""
        self.bounds = bounds
        self.is_fixed = bounds.minimum == bounds.maximum
        self.limit = bounds.start
        self._search = Search(float(bounds.start), course=REFUSED)
        self._gradient = Gradient()

    def succeed(self, now: float, *, epoch: int, latency_s: float, is_used: bool) -> None:
        """An attempt of this epoch was answered well; `is_used` says that nothing but the limit held others back."""
        latency_s = max(latency_s, BRIEF_S)
        self._overloads -= self._overloads / max(MANY, self.limit)
        self.latency_s = latency_s if not self.latency_s else self.latency_s + (latency_s - self.latency_s) / 16
        if self.is_fixed:
            return
        self._gradient.count()
        if epoch != self.epoch:  # it says how things were under another limit
            return
        ratio = self._gradient.add(now, latency_s=latency_s, limit=self.limit, is_used=is_used)
        if ratio is not None and now >= self._told_until:
            value = ratio * self._search.value
            self._shrink_to(value, mark=value, course=QUEUED)
        elif is_used and (now < self._told_until or not self._gradient.is_loaded(self.latency_s)):
            self._search.grow(1.0 / self._search.value)
            self._set()

    def throttle(self, now: float, epoch: int, *, throughput: float, floor: int = 1) -> bool:
        """The far side refused a call of this epoch (429); whether the limit shrank.

        Args:
            throughput: attempts a second that it let through lately.
            floor: it shrinks to this at most.
        """
        self._told_until = now + TOLD_S
        value = self._search.value
        return self._congest(epoch, max(self._carried(throughput), value / 2, float(floor)), mark=value)

    def overload(self, now: float, epoch: int, *, throughput: float) -> bool:
        """A call of this epoch met an overloaded server (503, 529); whether the limit shrank.

        Only where many do: a few may be one broken server of several, and do not depend on the calls in flight.
        """
        self._overloads += (1.0 - self._overloads) / max(MANY, self.limit)
        if self._overloads <= OVERLOAD_RATIO:
            return False
        self._told_until = now + TOLD_S
        value = max(self._carried(throughput), self._search.value / 2)
        return self._congest(epoch, value, mark=value)  # by then it has stood beyond the bound for a while

    def time_out(self, epoch: int) -> bool:
        """A call of this epoch was not answered in time; whether the limit shrank."""
        value = self._search.value
        return self._congest(epoch, DECREASE_RATIO * value, mark=value)

    def restart(self) -> None:
        """The far side is back after an outage: half the limit, quickly growing."""
        value = max(float(min(self.bounds.start, self.limit)), self._search.value / 2)
        self._search.fall(value, mark=UNKNOWN)
        self._set()

    def restore(self, throughput: float) -> None:
        """What made it shrink was no bound: it is again what this throughput needs, and grows from there."""
        self._search.fall(max(self._search.value, throughput * self.latency_s), mark=UNKNOWN)
        self._set()

    def _carried(self, throughput: float) -> float:
        """Calls in flight that the far side was seen to carry, a few less."""
        return THROUGHPUT_SHARE * throughput * self.latency_s

    def _congest(self, epoch: int, value: float, *, mark: float) -> bool:
        if epoch != self.epoch:
            return False
        before = self._search.value
        kept = value if value < LESS_RATIO * before else THROUGHPUT_SHARE * before
        self._shrink_to(kept, mark=mark, course=REFUSED)
        return True

    def _shrink_to(self, value: float, *, mark: float, course: Course) -> None:
        self._search.fall(value, mark=mark, course=course)
        self.epoch += 1
        self._set()

    def _set(self) -> None:
        search, bounds = self._search, self.bounds
        search.value = min(max(search.value, float(bounds.minimum)), float(bounds.maximum))
        self.limit = int(search.value)
