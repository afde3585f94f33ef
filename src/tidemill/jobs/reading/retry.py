"""Retry: the quarantined and skipped records of a run as something to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tidemill.data.nodes.node import Node
from tidemill.errors import DataError
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import FailedRow
from tidemill.jobs.ledger.segments import iter_failed
from tidemill.jobs.reading.prefix import find_prefix
from tidemill.jobs.reading.source_half import SourceHalf
from tidemill.jobs.records.chunk import CHUNK_BYTES, CHUNK_RECORDS, CHUNK_RESULT_BYTES, Chunk, SourceTotals
from tidemill.jobs.records.counts import EMITTED, IN, PASSED, QUARANTINED, SKIPPED, new_counts
from tidemill.jobs.records.outcomes import Failure, Redo
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.protocols import Source

NOT_RETRIED = " (not tried again: the record held values that the quarantine does not keep)"
NOT_WHOLE = " (not tried again: of what stood there, not all was kept)"
NOT_ALONE = " (not tried again: a step before the first call looks at it among others)"


class RetryReader:
    """Gives the records that stand in quarantine, oldest first, each at the step where it failed.

    A record that failed in the source half goes through the rest of it here; one of the record half enters there. What
    stands in front of a step that picks or gathers records is not tried again: it has lost its place among the others.
    The counts take back the failed outcome, since the record gets a new one.

    Args:
        upto: the number of the last segment whose rows are tried again.

    Attributes:
        result_bytes: what one record comes to at the end of the job, as far as known; whoever knows it sets it.
        due_records: how many records may be read together at most, for those that finish first to wait for the last;
            likewise.
    """

    def __init__(
        self,
        folder: RunFolder,
        segments: Sequence[dict[str, Any]],
        source: Source,
        source_nodes: Sequence[Node],
        *,
        upto: int,
        totals: SourceTotals,
        steps: int,
        chunk_records: int = CHUNK_RECORDS,
    ) -> None:
        taken_up = [segment for segment in segments if segment["number"] <= upto]
        self._rows = (row for segment in taken_up for row in iter_failed(folder, segment, standing=True))
        self._source = source
        self._totals = totals
        self._prefix = find_prefix(source, source_nodes)
        self._half = SourceHalf(source_nodes, new_counts(steps), totals.taken)
        self._first = len(source_nodes) + 1
        self._steps = steps
        self._chunk_records = chunk_records
        self._stopping = False
        self.result_bytes = 0
        self.due_records = chunk_records

    def next_chunk(self) -> Chunk | None:
        """The next records to try again, None when there are no more."""
        self._half.enter()
        counts = self._half.counts = new_counts(self._steps)
        rows: list[tuple[int, Any, int]] = []
        size = 0
        most = min(self._chunk_records, self.due_records, max(1, CHUNK_RESULT_BYTES // max(1, self.result_bytes)))
        while len(rows) < most and size < CHUNK_BYTES and not self._stopping:
            row = next(self._rows, None)
            if row is None:
                break
            outcome = SKIPPED if row.outcome == "skipped" else QUARANTINED
            counts[row.step][outcome] -= 1
            counts[row.step][IN] -= 1
            entered = self._enter(row)
            held = (each.record if isinstance(each, Failure) else each for _, each, _ in entered)
            size_bytes = sum(map(estimate_bytes, held))
            size += size_bytes
            rows.append((row.ordinal, Redo(row.part, row.order, entered), size_bytes))
        if not rows:
            return None
        return Chunk("", rows, None, SourceTotals(self._totals.ordinal, dict(self._half.taken)), counts)

    def stop(self) -> None:
        """Give nothing more, from any thread."""
        self._stopping = True

    def measure(self) -> tuple[int, int] | None:
        """Unknown: how many stand in quarantine is not counted beforehand."""
        return None

    def close(self) -> None:
        """Close the quarantine part that is being read, and leave the steps."""
        try:
            self._rows.close()
        finally:
            self._half.leave()

    def _enter(self, row: FailedRow) -> list[tuple[tuple[int, ...], Any, int]]:
        if not row.restorable:
            self._half.counts[row.step][IN] += 1
            return [(row.path, _fail_again(row, NOT_RETRIED if row.step else NOT_WHOLE, restorable=False), 0)]
        if self._prefix is not None and not self._prefix.takes_alone(row.step):
            self._half.counts[row.step][IN] += 1
            return [(row.path, _fail_again(row, NOT_ALONE, restorable=True), 0)]
        if row.step >= self._first:
            return [(row.path, row.record, row.step - self._first)]
        entered = list(self._flow(row))
        if len(entered) == 1 and not row.given:
            return [_place(row.path, entered[0])]
        return [_place((*row.path, row.given + index), record) for index, record in enumerate(entered)]

    def _flow(self, row: FailedRow) -> Iterator[Any]:
        """What the record gives at the end of the source half: records and failures."""
        half = self._half
        if row.step:
            yield from half.flow(row.record, row.step - 1, row.given)
            return
        try:
            record = self._source.decode_record(row.raw or b"")
        except DataError as exc:
            half.counts[0][IN] += 1
            exc.where = exc.where or row.error.get("where", "")  # the bytes alone do not say where they stood
            yield Failure(0, exc, raw=row.raw)
            return
        half.count(0, PASSED)
        half.counts[0][EMITTED] += 1
        yield from half.flow(record)


def _place(path: tuple[int, ...], entered: Any) -> tuple[tuple[int, ...], Any, int]:
    """What enters the record half, at its first step, under the identity it has from now on."""
    return path, replace(entered, path=path) if isinstance(entered, Failure) else entered, 0


def _fail_again(row: FailedRow, reason: str, *, restorable: bool) -> Failure:
    """The failure that `row` stays, with its place and cause, and why it was not tried again."""
    where = row.error.get("where", "")
    message = row.error["message"].removesuffix(reason).removeprefix(f"{where}: ") + reason
    error = DataError(message, where=where)
    return Failure(row.step, error, row.record, row.raw, row.given, path=row.path, restorable=restorable)
