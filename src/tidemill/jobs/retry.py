"""Retry: the quarantined and skipped records of a run as something to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tidemill.data.nodes import Node
from tidemill.errors import DataError
from tidemill.jobs.counts import EMITTED, IN, PASSED, QUARANTINED, SKIPPED, new_counts
from tidemill.jobs.folder import RunFolder
from tidemill.jobs.outcomes import Failure, Redo
from tidemill.jobs.reader import CHUNK_RECORDS, Chunk, SourceTotals
from tidemill.jobs.replies import iter_failed
from tidemill.jobs.rows import FailedRow
from tidemill.jobs.source_half import SourceHalf
from tidemill.protocols import Source


class RetryReader:
    """Gives the records that stand in quarantine, oldest first, each at the step where it failed.

    A record that failed in the source half goes through the rest of it here; one of the record half enters there.
    The counts take back the failed outcome, since the record gets a new one.
    """

    def __init__(
        self,
        folder: RunFolder,
        segments: Sequence[dict[str, Any]],
        source: Source,
        source_nodes: Sequence[Node],
        *,
        run_pass: int,
        totals: SourceTotals,
        steps: int,
        chunk_records: int = CHUNK_RECORDS,
    ) -> None:
        older = [segment for segment in segments if segment["pass"] != run_pass]
        self._rows = (row for segment in older for row in iter_failed(folder, segment, standing=True))
        self._source = source
        self._totals = totals
        self._half = SourceHalf(source_nodes, new_counts(steps), totals.taken)
        self._first = len(source_nodes) + 1
        self._steps = steps
        self._chunk_records = chunk_records
        self._stopping = False

    def next_chunk(self) -> Chunk | None:
        """The next records to try again, None when there are no more."""
        counts = self._half.counts = new_counts(self._steps)
        rows: list[tuple[int, Any, int]] = []
        while len(rows) < self._chunk_records and not self._stopping:
            row = next(self._rows, None)
            if row is None:
                break
            outcome = SKIPPED if row.outcome == "skipped" else QUARANTINED
            counts[row.step][outcome] -= 1
            counts[row.step][IN] -= 1
            rows.append((row.ordinal, Redo(row.part, self._enter(row)), 1024))
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
        """Nothing is held open."""

    def _enter(self, row: FailedRow) -> list[tuple[tuple[int, ...], Any, int]]:
        if not row.restorable:
            error = DataError(
                "the record cannot be tried again: it held values that JSON does not keep",
                hint="give records plain values (str, int, float, bool, None, lists, dicts) before the first call",
            )
            self._half.counts[row.step][IN] += 1
            return [(row.path, Failure(row.step, error, row.record, path=row.path), 0)]
        if row.step >= self._first:
            return [(row.path, row.record, row.step - self._first)]
        entered = list(self._flow(row))
        if len(entered) == 1 and not row.given:
            return [((), entered[0], 0)]
        return [((row.given + index,), record, 0) for index, record in enumerate(entered)]

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
            yield Failure(0, exc, raw=row.raw)
            return
        half.count(0, PASSED)
        half.counts[0][EMITTED] += 1
        yield from half.flow(record)
