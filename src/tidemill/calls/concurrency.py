"""How many calls may be in flight at once: found out from how the far side takes them."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

DECREASE_RATIO: Final = 0.7
"""What is left of the limit after an event that says nothing better (CUBIC's beta, RFC 9438)."""
THROUGHPUT_SHARE: Final = 0.95
"""Of the calls that the far side was seen to carry, those that are sent after it refused one."""
NEAR_RATIO: Final = 0.9
PROBE_RATIO: Final = 0.02
PROBE_GROWTH: Final = 1.5
GENTLE_CALLS: Final = 0.25
"""Calls that a round of replies adds at least, where a queue was met rather than a refusal."""
PAST_RATIO: Final = 1.3
"""Beyond the limit that was once too much by so much, that limit says nothing any more."""
QUEUE_RATIO: Final = 1.5
"""Latency over the unloaded one, from which on calls are taken to stand in a queue."""
DRAINED_RATIO: Final = 1.25
NOISE: Final = 3.0
TELLING_LOSS: Final = 0.1
"""Of the throughput: what a smaller limit may cost before the queue is taken to have been none."""
TOLD_S: Final = 60.0
"""A server that refuses calls says itself what is too much: its latency is judged again after so long without."""
MANY: Final = 48
STRAY_RATIO: Final = 0.15
"""Of the last few dozen attempts: so many may meet an overload whatever is in flight."""
BRIEF_S: Final = 0.005
"""Latencies below this are taken for this: uvloop's clock goes by milliseconds, and what a loop adds is no queue."""
WINDOW_CALLS: Final = 16
WINDOW_S: Final = 1.0
LONG_CALLS: Final = 512
TRIAL_ROUNDS: Final = 3
DOUBLED_RATIO: Final = 1.6
GAINED_RATIO: Final = 1.15
"""A limit that has grown by the first and a throughput that has not by the second: what was added stands in a queue."""
PATIENCE: Final = 16
"""Windows after which it is tried again whether latency that was taken for work still is."""


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

    Servers that queue silently are told by latency (after Netflix's concurrency-limits, "Gradient2"): where a window's
    median is 1.5 times the unloaded one, the limit shrinks towards that; when this costs throughput, the latency was
    work and no queue (a server that computes batches), and counts as unloaded from then on.

    Attributes:
        limit: calls in flight at most, now.
        is_fixed: it never moves.
        epoch: the number of shrinkings so far; a call carries the one it was sent in.
        latency_s: of good replies, lately; 0.0 before the first.
    """

    def __init__(self, bounds: ConcurrencyRange) -> None:
        self.bounds = bounds
        self.is_fixed = bounds.minimum == bounds.maximum
        self._value = float(bounds.start)
        self.limit = bounds.start
        self.epoch = 0
        self._bound = float("inf")
        self._is_gentle = False
        self._overloads = 0.0
        self._told_until = float("-inf")
        self._probe_ratio = PROBE_RATIO
        self.latency_s = 0.0
        self._gradient = _Gradient()

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
            self._shrink_to(ratio * self._value, bound=ratio * self._value)
            self._is_gentle = True
        elif is_used and (now < self._told_until or not self._gradient.is_loaded(self.latency_s)):
            self._grow()

    def throttle(self, now: float, epoch: int, *, throughput: float, floor: int = 1) -> bool:
        """The far side refused a call of this epoch (429); whether the limit shrank.

        Args:
            throughput: attempts a second that it let through lately.
            floor: it shrinks to this at most.
        """
        self._told_until = now + TOLD_S
        carried = THROUGHPUT_SHARE * throughput * self.latency_s
        return self._congest(epoch, max(carried, self._value / 2, float(floor)))

    def overload(self, now: float, epoch: int, *, throughput: float) -> bool:
        """A call of this epoch met an overloaded server (503, 529); whether the limit shrank.

        Only where many do: a few may be one broken server of several, and do not depend on the calls in flight.
        """
        self._overloads += (1.0 - self._overloads) / max(MANY, self.limit)
        return self._overloads > STRAY_RATIO and self.throttle(now, epoch, throughput=throughput)

    def time_out(self, epoch: int) -> bool:
        """A call of this epoch was not answered in time; whether the limit shrank."""
        return self._congest(epoch, DECREASE_RATIO * self._value)

    def restart(self) -> None:
        """The far side is back after an outage: half the limit, quickly growing."""
        self._value = max(float(min(self.bounds.start, self.limit)), self._value / 2)
        self._bound = float("inf")
        self._set()

    def change(self, bounds: ConcurrencyRange) -> None:
        """Move between other bounds from now on, from their start."""
        self.bounds = bounds
        self.is_fixed = bounds.minimum == bounds.maximum
        self._value = float(bounds.start)
        self._bound = float("inf")
        self._gradient = _Gradient()
        self._set()

    def _congest(self, epoch: int, value: float) -> bool:
        if epoch != self.epoch:
            return False
        self._shrink_to(min(value, NEAR_RATIO * self._value), bound=self._value)
        self._is_gentle = False
        return True

    def _shrink_to(self, value: float, *, bound: float) -> None:
        self._bound = bound
        self._probe_ratio = PROBE_RATIO
        self._value = value
        self.epoch += 1
        self._set()

    def _grow(self) -> None:
        """What one reply adds: a share of what a whole round of replies is to add."""
        value, bound = self._value, self._bound
        if self._is_gentle:
            self._value += max(GENTLE_CALLS, PROBE_RATIO * value) / value
        elif value < NEAR_RATIO * bound / PAST_RATIO or value > PAST_RATIO * bound:
            if value > bound:
                self._bound = float("inf")
            self._value += 1.0
        elif value < NEAR_RATIO * bound:
            self._value += max(1.0, (bound - value) / 2) / value
        else:
            self._value += max(1.0, self._probe_ratio * value) / value
            self._probe_ratio *= PROBE_GROWTH ** (1.0 / value)
        self._set()

    def _set(self) -> None:
        self._value = min(max(self._value, float(self.bounds.minimum)), float(self.bounds.maximum))
        self.limit = int(self._value)


class _Trial(NamedTuple):
    """A smaller limit that is tried, and what there was before."""

    ratio: float
    throughput: float
    latency_s: float


class _Gradient:
    """Tells from latencies whether calls stand in a queue at a server that refuses none.

    Attributes:
        is_queueing: the last window's latency was that of a queue.
    """

    def __init__(self) -> None:
        self.is_queueing = False
        self._replies = 0
        self._latencies: list[float] = []
        self._began = (0.0, 0)  # the window: when, and the number of replies by then
        self._last_at = 0.0
        self._size = WINDOW_CALLS
        self._used = 0
        self._lowest_s = self._unloaded_s = float("inf")
        self._limit = 0
        self._window: tuple[int, float] | None = None  # the last one's limit and throughput
        self._trial: _Trial | None = None
        self._is_bracketed = False
        self._noise = 0.0
        self._patience = self._doubts = PATIENCE

    def is_loaded(self, latency_s: float) -> bool:
        """Whether calls stand in a queue by now, at such a latency."""
        return self.is_queueing or latency_s > QUEUE_RATIO * self._unloaded_s

    def count(self) -> None:
        """A reply came, to an attempt of whichever epoch."""
        self._replies += 1

    def add(self, now: float, *, latency_s: float, limit: int, is_used: bool) -> float | None:
        """Take in the latency of a reply of this epoch; what to multiply the limit by then, None for nothing."""
        if self._is_over(now) and (ratio := self._end_window(now)) is not None:
            return ratio
        latencies = self._latencies
        if not latencies:
            self._began = now, self._replies
            self._limit = limit
            self._size = max(WINDOW_CALLS, limit * (TRIAL_ROUNDS if self._trial is not None else 1))
        self._last_at = now
        latencies.append(latency_s)
        self._used += is_used
        return None

    def _is_over(self, now: float) -> bool:
        """Whether the window is long enough; until how few calls will do was found once, short ones are."""
        count = len(self._latencies)
        if count < self._size or now <= self._last_at:
            return False
        return not self._is_bracketed or now - self._began[0] >= WINDOW_S or count >= LONG_CALLS

    def _end_window(self, now: float) -> float | None:
        """Judge the window that this reply, which comes behind it, ends: so a burst of replies counts for its time."""
        latencies, self._latencies = sorted(self._latencies), []
        was_used = 2 * self._used >= len(latencies)
        self._used = 0
        if not was_used:
            return None
        began_at, before = self._began
        count = len(latencies)
        median_s = latencies[count // 2]
        # The standard error of a median, by the quartiles: medians that lie within a few of it say the same.
        self._noise = 0.93 * (latencies[3 * count // 4] - latencies[count // 4]) / median_s / math.sqrt(count)
        return self._judge(median_s, (self._replies - before) / (now - began_at), self._limit)

    def _judge(self, median_s: float, throughput: float, limit: int) -> float | None:
        if self._trial is not None:
            undone = self._end_trial(median_s, throughput, self._trial)
            if undone is not None:
                return undone
        before, self._window = self._window, (limit, throughput)
        self._lowest_s = min(self._lowest_s, median_s)
        if median_s < self._unloaded_s:  # by and by: one window may be lucky
            self._unloaded_s += (median_s - self._unloaded_s) / (4 if self._is_bracketed else 1)
        self._doubts -= median_s > QUEUE_RATIO * self._lowest_s
        if self._doubts <= 0:  # that more latency was work was found out long ago: is it still so?
            self._doubts = self._patience = 2 * self._patience
            self._unloaded_s = self._lowest_s
        ratio = median_s / self._unloaded_s
        self.is_queueing = ratio > DRAINED_RATIO + NOISE * self._noise
        if ratio > QUEUE_RATIO + NOISE * self._noise:
            return self._try(DRAINED_RATIO / ratio, median_s, throughput)
        if self._is_bracketed or before is None or limit < DOUBLED_RATIO * before[0]:
            return None
        return (
            self._try(0.5 * before[0] / limit, median_s, throughput) if throughput < GAINED_RATIO * before[1] else None
        )

    def _try(self, ratio: float, median_s: float, throughput: float) -> float:
        """Make the limit smaller, and see what that costs."""
        self._trial = _Trial(ratio, throughput, median_s)
        self._window = None
        return ratio

    def _end_trial(self, median_s: float, throughput: float, trial: _Trial) -> float | None:
        """What a smaller limit came to: as much as before, from a queue, or less: then it is undone."""
        self._trial = None
        # Few replies, or ones that take as long as they like, tell large losses alone.
        telling = max(TELLING_LOSS, 1.5 / math.sqrt(self._size), 2 * self._noise)
        if throughput < (1 - telling) * trial.throughput:
            self._lowest_s = min(self._lowest_s, median_s) if self._is_bracketed else median_s
            self._unloaded_s = max(self._unloaded_s, trial.latency_s) if self._is_bracketed else trial.latency_s
            self.is_queueing = False
            self._is_bracketed = True
            self._window = None
            return 1 / trial.ratio
        self._patience = self._doubts = PATIENCE
        self._unloaded_s = min(self._unloaded_s, median_s)
        # How few will do is searched for by halves, until that was found once: all may have queued from the start.
        return None if self._is_bracketed else self._try(0.5, median_s, throughput)
