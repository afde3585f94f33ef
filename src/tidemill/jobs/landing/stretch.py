"""A stretch: what finished, in source order, and is not sealed yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct
from pydantic import Field

from tidemill.config.model import Settings
from tidemill.jobs.landing.pace import Pace
from tidemill.jobs.records.chunk import PartPosition, SourceTotals
from tidemill.jobs.records.counts import Counts, add_counts, new_counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.root import Mark, Root


class SegmentLimits(Settings):
    """When a stretch is cut and sealed: whichever comes first.

    Attributes:
        records: records read, or landed where a `flat_map` makes more of them.
        size_bytes: the memory that landed and failed records and replies take, about.
        age_s: seconds that what is finished, in source order, waits.
    """

    records: int = Field(default=10_000, ge=1)
    size_bytes: int = Field(default=32 << 20, ge=1)
    age_s: float = Field(default=300.0, gt=0)


class Landed(Struct, frozen=True):
    """A record at the end of its pipeline, with its identity, and where it stands in the pass over the source."""

    part: str
    ordinal: int
    order: int
    path: tuple[int, ...]
    record: Any


class Failed(NamedTuple):
    """A failed record's identity, where it stands in the pass over the source, and failure."""

    part: str
    ordinal: int
    order: int
    failure: Failure


_part_of, _ordinal_of, _rows_of, _size_of, _failures_of, _recalled_of = map(
    attrgetter, ("part", "ordinal", "rows", "size_bytes", "failures", "recalled")
)


@dataclass(slots=True)
class Cut:
    """A stretch up to an exact position: what one segment holds."""

    counts: Counts
    landed: list[Landed] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    calls: list[bytes] = field(default_factory=list)
    ranges: dict[str, list[int]] = field(default_factory=dict)
    positions: dict[str, PartPosition] = field(default_factory=dict)
    totals: SourceTotals | None = None
    roots: int = 0
    size_bytes: int = 0
    next_number: int = 0

    def add_roots(self, roots: Sequence[Root]) -> None:
        """Take over finished records, at least one; together, since each alone would cost five times as much."""
        self.landed += [
            Landed(root.part, root.ordinal, root.order, path, record) for root in roots for path, record in root.landed
        ]
        self.failed += [
            Failed(root.part, root.ordinal, root.order, failure)
            for root in filter(_failures_of, roots)
            for failure in root.failures
        ]
        self.calls += chain.from_iterable(map(_rows_of, roots))
        self.roots += len(roots)
        self.size_bytes += sum(map(_size_of, roots))
        self.next_number = roots[-1].number + 1
        for part, group in groupby(roots, _part_of):
            ordinals = list(map(_ordinal_of, group))
            self._widen(part, min(ordinals), max(ordinals))

    def add_mark(self, mark: Mark) -> None:
        """Take over the position and the counts of the chunk that ends here."""
        chunk = mark.chunk
        add_counts(self.counts, chunk.counts)
        if chunk.position is not None:
            self.positions[chunk.position.name] = chunk.position
        self.positions |= {position.name: position for position in chunk.passed}
        self.totals = chunk.totals

    def _widen(self, part: str, low: int, high: int) -> None:
        span = self.ranges.setdefault(part, [low, high])
        self.ranges[part] = [min(span[0], low), max(span[1], high)]


class Stretch:
    """Collects what the window delivers and says when it is time to seal; times are the loop's, handed in.

    Only whole chunks are sealed, since only there the position is exact; `ready` holds those, what came after the
    last mark waits in `open`. So that none waits for the rest of its chunk for longer than it may, `due_records` says
    how large a chunk may be.
    """

    def __init__(self, steps: int, limits: SegmentLimits, now: float) -> None:
        self._steps = steps
        self._limits = limits
        self._ready = Cut(new_counts(steps))
        self._open: list[Root] = []
        self._ready_since = self._open_since = now  # when the first record of each came
        self._pace = Pace(now, memory_s=limits.age_s)

    def add_roots(self, roots: Sequence[Root], now: float) -> None:
        """Take over the records that the window delivered next."""
        if not self._open:
            self._open_since = now
        self._pace.note(len(roots) - sum(map(bool, map(_recalled_of, roots))))
        self._open += roots

    def add_mark(self, mark: Mark) -> None:
        """Take over the position behind what came before."""
        if not self._ready.roots:
            self._ready_since = self._open_since
        if self._open:
            self._ready.add_roots(self._open)
            self._open = []
        self._ready.add_mark(mark)

    def due_records(self, now: float) -> int:
        """Records that finish in half the time that one may wait, at the pace of late; the pace may halve, then."""
        return max(1, int(self._pace.estimate(now) * self._limits.age_s / 2))

    @property
    def is_full(self) -> bool:
        """Whether a segment's worth is ready."""
        ready, limits = self._ready, self._limits
        rows = max(ready.roots, len(ready.landed))
        return rows >= limits.records or ready.size_bytes >= limits.size_bytes

    def is_old(self, now: float) -> bool:
        """Whether what is ready began to wait as long ago as it may."""
        return bool(self._ready.roots) and now - self._ready_since >= self._limits.age_s

    @property
    def has_ready(self) -> bool:
        """Whether anything, be it only a position, can be sealed."""
        return bool(self._ready.roots or self._ready.positions)

    @property
    def held(self) -> int:
        """Records collected and not cut."""
        return self._ready.roots + len(self._open)

    def cut(self) -> Cut:
        """What can be sealed now; it is the caller's from here on."""
        ready, self._ready = self._ready, Cut(new_counts(self._steps))
        return ready
