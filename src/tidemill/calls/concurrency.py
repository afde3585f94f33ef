"""How many calls may be in flight at once: found out from how the far side takes them."""

from __future__ import annotations

from typing import Final, NamedTuple

DECREASE_RATIO: Final = 0.7
"""What is left of the limit after an event that says nothing better (CUBIC's beta, RFC 9438)."""
THROUGHPUT_SHARE: Final = 0.95
"""Of the calls that the far side was seen to carry, those that are sent after it refused one."""
NEAR_RATIO: Final = 0.9
PROBE_RATIO: Final = 0.02
PROBE_GROWTH: Final = 1.5
PAST_RATIO: Final = 1.3
"""Beyond the limit that was once too much by so much, that limit says nothing any more."""
QUEUE_RATIO: Final = 1.5
"""Latency over the unloaded one, from which on calls are taken to stand in a queue."""
DRAINED_RATIO: Final = 1.25
TELLING_LOSS: Final = 0.07
"""Of the throughput: what a smaller limit may cost before the queue is taken to have been none."""
WINDOW_CALLS: Final = 32
FORGETTING: Final = 1.005
"""The unloaded latency grows by so much a window, so that one lucky window does not stand for ever."""


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
        epoch: the number of shrinkings so far; a call carries the one it was sent in.
        latency_s: of good replies, lately; 0.0 before the first.
    """

    def __init__(self, bounds: ConcurrencyRange) -> None:
        self.bounds = bounds
        self._value = float(bounds.start)
        self.limit = bounds.start
        self.epoch = 0
        self._bound = float("inf")
        self._probe_ratio = PROBE_RATIO
        self.latency_s = 0.0
        self._gradient = _Gradient()

    @property
    def is_fixed(self) -> bool:
        """Whether it never moves."""
        return self.bounds.minimum == self.bounds.maximum

    def succeed(self, now: float, *, epoch: int, latency_s: float, in_flight: int) -> None:
        """An attempt of this epoch was answered well, with `in_flight` at the time, itself included."""
        self.latency_s = latency_s if not self.latency_s else self.latency_s + (latency_s - self.latency_s) / 16
        if epoch != self.epoch:  # it says how things were under another limit
            return
        is_used = in_flight >= NEAR_RATIO * self.limit
        ratio = self._gradient.add(now, latency_s=latency_s, limit=self.limit, is_used=is_used)
        if ratio is not None:
            self._shrink_to(ratio * self._value, bound=self._value)
        elif is_used and not self._gradient.is_queueing:
            self._grow()

    def throttle(self, epoch: int, *, throughput: float) -> bool:
        """The far side refused a call of this epoch (429); whether the limit shrank."""
        carried = THROUGHPUT_SHARE * throughput * self.latency_s
        return self._congest(epoch, max(carried, self._value / 2))

    def overload(self, epoch: int) -> bool:
        """A call of this epoch met an overloaded server (503, 529) or none in time; whether the limit shrank."""
        return self._congest(epoch, DECREASE_RATIO * self._value)

    def restart(self) -> None:
        """The far side is back after an outage: half the limit, quickly growing."""
        self._value = max(float(min(self.bounds.start, self.limit)), self._value / 2)
        self._bound = float("inf")
        self._set()

    def change(self, bounds: ConcurrencyRange) -> None:
        """Move between other bounds from now on, from their start."""
        self.bounds = bounds
        self._value = float(bounds.start)
        self._bound = float("inf")
        self._gradient = _Gradient()
        self._set()

    def _congest(self, epoch: int, value: float) -> bool:
        if epoch != self.epoch:
            return False
        self._shrink_to(min(value, NEAR_RATIO * self._value), bound=self._value)
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
        if value < NEAR_RATIO * bound / PAST_RATIO or value > PAST_RATIO * bound:
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


class _Gradient:
    """Tells from latencies whether calls stand in a queue at a server that refuses none.

    Attributes:
        is_queueing: the last window's latency was that of a queue.
    """

    def __init__(self) -> None:
        self.is_queueing = False
        self._latencies: list[float] = []
        self._began_at = 0.0
        self._used = 0
        self._unloaded_s = float("inf")
        self._trial: tuple[float, float] | None = None  # throughput and latency before the limit was made smaller

    def add(self, now: float, *, latency_s: float, limit: int, is_used: bool) -> float | None:
        """Take in one reply's latency; what the limit is to be multiplied by then, None for nothing."""
        latencies = self._latencies
        if not latencies:
            self._began_at = now
        latencies.append(latency_s)
        self._used += is_used
        if len(latencies) < max(WINDOW_CALLS, limit):
            return None
        latencies.sort()
        median_s = latencies[len(latencies) // 2]
        throughput = len(latencies) / max(now - self._began_at, 1e-9)
        was_used = 2 * self._used >= len(latencies)
        latencies.clear()
        self._used = 0
        return self._judge(median_s, throughput) if was_used else None

    def _judge(self, median_s: float, throughput: float) -> float | None:
        if self._trial is not None:
            before, loaded_s = self._trial
            self._trial = None
            if throughput < (1 - TELLING_LOSS) * before:  # what the limit allowed more of was work
                self._unloaded_s = max(self._unloaded_s, loaded_s)
        self._unloaded_s = min(self._unloaded_s * FORGETTING, median_s)
        ratio = median_s / self._unloaded_s
        self.is_queueing = ratio > DRAINED_RATIO
        if ratio <= QUEUE_RATIO:
            return None
        self._trial = throughput, median_s
        return DRAINED_RATIO / ratio
