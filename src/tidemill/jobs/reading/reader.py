"""The reading side of a job: source parts through the source half, in chunks, with exact positions.

Runs in a thread of its own, one chunk at a time; the event loop asks for the next one while there is room.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tidemill.data.entering.managers import explaining_leave
from tidemill.data.nodes.node import Node, step_names
from tidemill.disk import Disk
from tidemill.errors import ResourceError, StateError
from tidemill.jobs.reading.part import END, PartRecords, SourcePart
from tidemill.jobs.reading.places import PartPlaces, Places, PrefixPlaces
from tidemill.jobs.reading.prefix import WHOLE, find_prefix
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
from tidemill.jobs.records.counts import new_counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.protocols import Source
from tidemill.resources.releasing import raise_failures

FAILURE_BYTES = 256
"""What a failure takes besides its record."""


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
        disk: what does the durable operations of steps that keep things.

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
        disk: Disk | None = None,
    ) -> None:
        self._source = source
        self._plan = iter(plan)
        self._prefix = find_prefix(source, nodes, disk)
        self._places: Places = PartPlaces(source, plan) if self._prefix is None else PrefixPlaces(self._prefix, plan)
        self._steps = steps
        length = None if self._prefix is None else len(self._prefix.nodes)
        self._half = SourceHalf(nodes, new_counts(steps), totals.taken, prefix=length)
        self._ordinal = totals.ordinal
        self._left = sys.maxsize if limit is None else max(limit, 0)
        self._chunk_records = max(1, chunk_records)
        self._ahead = 1
        self._stopping = False
        self.result_bytes = 0
        self.due_records = chunk_records
        self._open: _OpenPart | None = None
        self._others: Mapping[str, Mapping[str, int]] = {}
        self._unreleased: list[ResourceError] = []

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
        return self._places.measure()

    def count_passed_over(self) -> dict[str, int]:
        """How many records of its other source each join passed over, by the step's name; those that none did not."""
        names = () if self._prefix is None else step_names(self._prefix.nodes)
        return {names[int(index)]: seen["skipped"] for index, seen in self._others.items() if seen["skipped"]}

    def close(self) -> None:
        """Close the open part, and leave the steps.

        Raises:
            ResourceError: what could not be left, of parts that were read to their end, too.
        """
        try:
            self._close_part()
        finally:
            try:
                self._half.leave()
            except ResourceError as error:
                self._unreleased.append(error)
        unreleased, self._unreleased = self._unreleased, []
        with explaining_leave():
            raise_failures(None, unreleased, "several steps could not be left")

    def _close_part(self) -> None:
        part, self._open = self._open, None
        if part is None:
            return
        try:
            part.records.close()
        except ResourceError as error:
            if not error.is_release:
                raise
            self._unreleased.append(error)  # its records are all read: raised as this is closed

    def _open_part(self, position: PartPosition) -> _OpenPart:
        records: PartRecords
        if self._prefix is None:
            records = SourcePart(self._source, position)
        else:
            records = self._prefix.open(position.state)
        part = _OpenPart(position, records)
        part.read = partial(next, self._iter_rows(part), END) if self._half.has_steps else records.read
        self._half.counts = new_counts(self._steps)  # what is replayed is counted already
        for _ in range(position.skip):
            part.read()
        records.add_counts(self._half.counts)
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
        records: list[Any] = []
        sizes: list[int] = []
        started = time.perf_counter()
        size = 0
        most = min(self._ahead, self._left, self.due_records, max(1, CHUNK_RESULT_BYTES // max(1, self.result_bytes)))
        while len(records) < most and size < CHUNK_BYTES and not self._stopping:
            row = part.read()
            if row is END:
                part.ended = True
                break
            size_bytes = _estimate_failure(row) if isinstance(row, Failure) else estimate_bytes(row)
            size += size_bytes
            records.append(row)
            sizes.append(size_bytes)
            if time.perf_counter() - started > CHUNK_SLOW_S:
                break
        slow = time.perf_counter() - started > CHUNK_SLOW_S
        self._ahead = 1 if slow else min(self._ahead * 2, self._chunk_records)
        self._left -= len(records)
        rows = list(zip(self._take_ordinals(part, len(records)), records, sizes, strict=True))
        position = part.save_position(done=part.ended and not self._stopping)
        self._places.note(position)
        if self._prefix is not None and position.state is not None:
            self._others = position.state["records"]["others"]
        taken = self._half.taken if part.taken is None else part.taken
        part.records.add_counts(self._half.counts)
        name = WHOLE if self._half.is_whole else part.position.name
        totals = SourceTotals(self._ordinal, dict(taken))
        return Chunk(name, rows, position, totals, self._half.counts, part.records.take_passed())

    def _take_ordinals(self, part: _OpenPart, count: int) -> range:
        """The ordinals of the next so many records."""
        if self._half.is_whole:
            first, self._ordinal = self._ordinal, self._ordinal + count
        else:
            first, part.ordinal = part.ordinal, part.ordinal + count
        return range(first, first + count)

    def _iter_rows(self, part: _OpenPart) -> Iterator[Any]:
        """Records and failures at the end of the source half."""
        half, records = self._half, part.records
        while not (self._stopping or half.is_full()):
            if half.has_children:
                records.mark()
            record = records.read()
            if record is END:
                break
            if isinstance(record, Failure):
                yield record
                continue
            part.emitted, part.taken = 0, dict(half.taken) if half.has_children else None
            for row in half.flow(record, half.first):
                part.emitted += 1
                yield row
            part.taken = None


@dataclass(slots=True)
class _OpenPart:
    """A part being read.

    Attributes:
        read: gives the next record or failure at the end of the source half, `END` at the end.
        emitted: rows given of the record at hand.
        taken: what each `take` had passed in front of it; None where no record with children is at hand.
    """

    position: PartPosition
    records: PartRecords
    ordinal: int = field(init=False)
    read: Callable[[], Any] = field(init=False)
    emitted: int = 0
    taken: dict[str, int] | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        self.ordinal = self.position.ordinal

    def save_position(self, *, done: bool) -> PartPosition:
        if self.taken is not None:
            return replace(self.position, ordinal=self.ordinal, state=self.records.before(), skip=self.emitted)
        return replace(self.position, ordinal=self.ordinal, state=self.records.state(), skip=0, done=done)


def _estimate_failure(failure: Failure) -> int:
    return FAILURE_BYTES + (len(failure.raw) if failure.raw else estimate_bytes(failure.record))
