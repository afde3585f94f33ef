"""`Histogram`: how long many things took, in a bounded number of buckets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

_EDGES_S = tuple(10 ** (step / 20 - 6) for step in range(181))
"""Upper edges of the buckets: 1 us to 1,000 s, each 12 % above the last; one more bucket is open."""

_SAVED_FROM = 40
"""The bucket that `to_dict` calls 0, up to 0.1 ms; the finer ones below it have negative numbers."""


class Histogram:
    """Durations in seconds, counted in 182 buckets at most, so that percentiles are known to 12 %.

    Not for several threads at once: whoever shares one guards it.

    Attributes:
        buckets: durations by bucket.
        total_s: their sum.
        max_s: the longest; 0.0 without any.
    """

    __slots__ = ("buckets", "max_s", "total_s")

    def __init__(self) -> None:
        self.buckets: defaultdict[int, int] = defaultdict(int)
        self.total_s = 0.0
        self.max_s = 0.0

    @property
    def count(self) -> int:
        """How many durations it holds."""
        return sum(self.buckets.values())

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(_EDGES_S, seconds)] += 1
        self.total_s += seconds
        if seconds > self.max_s:
            self.max_s = seconds

    def add_all(self, durations: Iterable[float]) -> None:
        """Count many at once, for a quarter of what they cost one by one: those of a bucket stand side by side."""
        ordered = sorted(durations)
        start = 0
        while start < len(ordered):
            bucket = bisect_left(_EDGES_S, ordered[start])
            stop = bisect_right(ordered, _EDGES_S[bucket], start) if bucket < len(_EDGES_S) else len(ordered)
            self.buckets[bucket] += stop - start
            start = stop
        if ordered:
            self.total_s += sum(ordered)
            self.max_s = max(self.max_s, ordered[-1])

    def percentile_s(self, ratio: float) -> float | None:
        """The duration that `ratio` (0-1) of them stayed under; None without any.

        At most 12 % above the exact one, below 1 us at most 1 us.
        """
        rank = ratio * self.count
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return self.max_s if bucket == len(_EDGES_S) else min(_EDGES_S[bucket], self.max_s)
        return None

    def list_steps(self) -> list[tuple[float, float, int]]:
        """The buckets that hold something: from and up to how many seconds, and how many durations."""
        edges = (0.0, *_EDGES_S, self.max_s)
        return [(edges[bucket], edges[bucket + 1], count) for bucket, count in sorted(self.buckets.items())]

    def merge(self, other: Histogram) -> None:
        """Count what `other` holds, too."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] += count
        self.total_s += other.total_s
        self.max_s = max(self.max_s, other.max_s)

    def to_dict(self) -> dict[str, Any]:
        """JSON of it all."""
        buckets = {str(bucket - _SAVED_FROM): count for bucket, count in self.buckets.items()}
        return {"total_s": self.total_s, "max_s": self.max_s, "buckets": buckets}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Histogram:
        """The histogram `to_dict` described.

        Also one of which only the buckets are known, as runs of earlier versions saved them: its longest duration is
        then the edge of its last bucket, and its sum is 0.
        """
        histogram = cls()
        for key, count in value.get("buckets", value).items():
            histogram.buckets[int(key) + _SAVED_FROM] += count
        last_s = (0.0, *_EDGES_S)[min(max(histogram.buckets, default=-1) + 1, len(_EDGES_S))]
        histogram.total_s, histogram.max_s = value.get("total_s", 0.0), value.get("max_s", last_s)
        return histogram
