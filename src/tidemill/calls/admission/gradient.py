"""Whether calls stand in a queue at a server that refuses none, told by their latency."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

# Each was varied in virtual time, alone: docs/lab-notes.md, "What the gradient's constants trade".
QUEUE_RATIO: Final = 1.5
"""Latency over the unloaded one, from which on calls are taken to stand in a queue: 1.25 waits less, 2 tries less."""
DRAINED_RATIO: Final = 1.25
"""What a trial aims at, and below which a queue is over: at 1.1, calls of uneven length waited longer."""
NOISE: Final = 3.0
"""Standard errors that a median must be off to say anything: without, a tenth of the throughput went where calls are of
uneven length; with 6, they waited longer."""
TELLING_LOSS: Final = 0.1
"""Of the throughput: what a smaller limit may cost before the queue is taken to have been none. With 0.3 work was
taken for a queue; less is below what a window can tell."""
WINDOW_CALLS: Final = 16
"""The fewest whose median and quartiles say something; with 64, few calls in flight are judged seldom."""
WINDOW_S: Final = 1.0
"""The shortest window once the limit is about right: shorter ones waited longer, longer ones follow a change later."""
LONG_CALLS: Final = 512
"""So many tell enough in less time than that; 64 cost some hundredths of the throughput, 4,096 changed nothing."""
TRIAL_ROUNDS: Final = 3
"""The window of a trial, in times the limit: with 1, which calls from before it are part of, work was taken for a
queue; with 8, a trial that costs throughput costs it for longer."""
DOUBLED_RATIO: Final = 1.6
GAINED_RATIO: Final = 1.15
"""A limit that has grown by the first and a throughput that has not by the second: what was added stands in a queue.
With 2.5 for the first, which a limit never grows by in one window, a queue there from the start was never found."""
PATIENCE: Final = 16
"""Windows after which it is tried again whether latency that was taken for work still is, doubled each time: a try
costs throughput where it is, and without one a queue that came in its place would stay. No load measured needs it."""


class _Trial(NamedTuple):
    """A smaller limit that is tried, and what there was before."""

    ratio: float
    throughput: float
    latency_s: float


class Gradient:
    """Tells from latencies whether calls stand in a queue, and how many fewer would do; a pure state machine.

    After Netflix's concurrency-limits ("Gradient2"): where a window's median is 1.5 times the unloaded one, fewer calls
    are tried. When that costs throughput, the latency was work and no queue (a server that computes batches), and
    counts as unloaded from then on.

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
        if not self._is_bracketed:
            self._unloaded_s = self._lowest_s
        elif median_s < self._unloaded_s:  # by and by: one window may be lucky
            self._unloaded_s += (median_s - self._unloaded_s) / 4
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
