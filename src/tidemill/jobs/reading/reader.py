"""The reading side of a job: source parts through the source half, in chunks, with exact positions.

Runs in a thread of its own, one chunk at a time; the event loop asks for the next one while there is room.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.data.failures import stop_iteration_error
from tidemill.data.nodes.node import Node
from tidemill.errors import DataError, StateError
from tidemill.jobs.reading.source_half import SourceHalf
from tidemill.jobs.records.chunk import (
    CHUNK_BYTES,
    CHUNK_RECORDS,
    CHUNK_RESULT_BYTES,
    CHUNK_SLOW_S,
    Chunk,
    PartPosition,
    SourceTotals,
)
from tidemill.jobs.records.counts import EMITTED, IN, PASSED, new_counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.protocols import RecordIterator, Source, State

FAILURE_BYTES = 256
"""What a failure takes besides its record."""

_END: Any = object()

WHOLE = ""
"""The part of every record when the source half looks across records: there is only one then."""


class Reader:
    """Reads the parts of `plan` in order through the source half's nodes.

    Args:
        source: where the parts are opened.
        nodes: the source half.
        plan: where to go on in each part, in reading order.
        totals: where the source half stands over all parts.
        steps: how many steps the job counts (source and sink among them).
        limit: the most records to give, None for all.
        chunk_records: the most records in one chunk.

    Attributes:
        result_bytes: what one record comes to at the end of the job, as far as known; whoever knows it sets it.
        due_records: how many records may be read together at most, for those that finish first to wait for the last;
            likewise.
    """

    def __init__(
        self,
        source: Source,
        nodes: Sequence[Node],
        plan: Sequence[PartPosition],
        *,
        totals: SourceTotals,
        steps: int,
        limit: int | None = None,
        chunk_records: int = CHUNK_RECORDS,
    ) -> None:
        self._source = source
        self._plan = iter(plan)
        self._places = {position.name: source.measure_part(position.name, position.state) for position in plan}
        self._steps = steps
        self._half = SourceHalf(nodes, new_counts(steps), totals.taken)
        self._ordinal = totals.ordinal
        self._left = sys.maxsize if limit is None else max(limit, 0)
        self._chunk_records = max(1, chunk_records)
        self._ahead = 1
        self._stopping = False
        self.result_bytes = 0
        self.due_records = chunk_records
        self._open: _OpenPart | None = None

    def next_chunk(self) -> Chunk | None:
        """The next chunk, None at the end of the source, of `limit`, or after `stop`.

        Blocks while the source does. Raises what the source raises besides a record's own failures, and what entering
        a step does.
        """
        self._half.enter()
        while self._left and not self._stopping:
            if self._open is None:
                position = None if self._half.is_full() else next(self._plan, None)
                if position is None:
                    return None
                self._open = self._open_part(position)
            part = self._open
            chunk = self._read_chunk(part)
            if part.ended:
                self._close_part()
            if chunk.rows or part.ended:
                return chunk
        self._close_part()
        return None

    def stop(self) -> None:
        """End the chunk at hand at the next source record, from any thread."""
        self._stopping = True

    def measure(self) -> tuple[int, int] | None:
        """How much of the plan's parts is read, and how much there is; None when a part cannot tell."""
        places = [place for place in self._places.values() if place is not None]
        if not places or len(places) < len(self._places):
            return None
        return sum(read for read, _ in places), sum(size for _, size in places)

    def close(self) -> None:
        """Close the open part, and leave the steps."""
        try:
            self._close_part()
        finally:
            self._half.leave()

    def _close_part(self) -> None:
        if self._open is not None:
            self._open.iterator.close()
            self._open = None

    def _open_part(self, position: PartPosition) -> _OpenPart:
        try:
            iterator = self._source.open_part(position.name, position.state)
        except StopIteration as exc:  # no future takes it, and an end it is not
            raise stop_iteration_error("source") from exc
        iterator.state()  # a source that keeps track only where it is asked to does so from the first record on
        part = _OpenPart(position, iterator)
        part.rows = self._iter_rows(part)
        self._half.counts = new_counts(self._steps)  # what is replayed is counted already
        for _ in range(position.skip):
            next(part.rows, None)
        if part.emitted != position.skip:  # what was skipped must all be of the source record at the position
            raise StateError(
                f"the run stands behind {position.skip} records made of one source record, which now gives another "
                "number of them",
                where=position.name,
                hint="a flat_map's function must give the same records each time; start anew with --fresh",
            )
        return part

    def _read_chunk(self, part: _OpenPart) -> Chunk:
        self._half.counts = new_counts(self._steps)
        rows: list[tuple[int, Any, int]] = []
        started = time.perf_counter()
        size = 0
        most = min(self._ahead, self._left, self.due_records, max(1, CHUNK_RESULT_BYTES // max(1, self.result_bytes)))
        while len(rows) < most and size < CHUNK_BYTES:
            row = next(part.rows, _END)
            if row is _END:
                part.ended = True
                break
            size_bytes = _estimate_row(row)
            size += size_bytes
            rows.append((self._next_ordinal(part), row, size_bytes))
            if time.perf_counter() - started > CHUNK_SLOW_S:
                break
        slow = time.perf_counter() - started > CHUNK_SLOW_S
        self._ahead = 1 if slow else min(self._ahead * 2, self._chunk_records)
        self._left -= len(rows)
        position = part.save_position(done=part.ended and not self._stopping)
        self._measure_part(position)
        taken = self._half.taken if part.before is None else part.taken
        name = WHOLE if self._half.is_whole else part.position.name
        return Chunk(name, rows, position, SourceTotals(self._ordinal, dict(taken)), self._half.counts)

    def _measure_part(self, position: PartPosition) -> None:
        place = self._source.measure_part(position.name, position.state)
        if place is not None and position.done:
            place = place[1], place[1]  # whatever else stands at its end
        self._places[position.name] = place

    def _next_ordinal(self, part: _OpenPart) -> int:
        if self._half.is_whole:
            ordinal = self._ordinal
            self._ordinal += 1
        else:
            ordinal = part.ordinal
            part.ordinal += 1
        return ordinal

    def _iter_rows(self, part: _OpenPart) -> Iterator[Any]:
        """Records and failures at the end of the source half."""
        half = self._half
        while not (self._stopping or half.is_full()):
            if half.has_children:
                part.before, part.emitted, part.taken = part.iterator.state(), 0, dict(half.taken)
            try:
                record = next(part.iterator)
            except StopIteration:
                break
            except DataError as exc:
                half.counts[0][IN] += 1
                part.emitted += 1
                yield Failure(0, exc, raw=exc.raw, restorable=exc.raw is not None and not exc.is_cut)
                continue
            half.count(0, PASSED)
            half.counts[0][EMITTED] += 1
            for row in half.flow(record):
                part.emitted += 1
                yield row
        part.before = None


@dataclass(slots=True)
class _OpenPart:
    """A part being read: `before`, `emitted` and `taken` say how far the source record at hand is given."""

    position: PartPosition
    iterator: RecordIterator
    ordinal: int = field(init=False)
    rows: Iterator[Any] = field(init=False)
    before: State | None = None
    emitted: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    ended: bool = False

    def __post_init__(self) -> None:
        self.ordinal = self.position.ordinal

    def save_position(self, *, done: bool) -> PartPosition:
        if self.before is not None:
            return replace(self.position, ordinal=self.ordinal, state=self.before, skip=self.emitted)
        return replace(self.position, ordinal=self.ordinal, state=self.iterator.state(), skip=0, done=done)


def _estimate_row(row: Any) -> int:
    if isinstance(row, Failure):
        return FAILURE_BYTES + (len(row.raw) if row.raw else estimate_bytes(row.record))
    return estimate_bytes(row)
