"""Reading in front of a section: the source and the plain steps, in chunks that know where they began."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tidemill.data.failing.failures import exit_error
from tidemill.data.iteration import Records, iterate
from tidemill.jobs.live.section import Section
from tidemill.jobs.records.chunk import CHUNK_SLOW_S, Chunk, SourceTotals
from tidemill.jobs.records.counts import new_counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.jobs.records.step import USER_ERRORS
from tidemill.jobs.window.opening import count_workers
from tidemill.protocols import State

READ_AHEAD = 64
"""Records read at a time at most, and no more than the concurrency; a resumed iteration reads so many again."""


@dataclass(slots=True)
class LiveChunk(Chunk):
    """A chunk that knows the source's state in front of it, and how many of its records were given before."""

    before: State = field(default_factory=dict)
    skipped: int = 0


class RecordsReader:
    """Reads the iterator in front of a record half in chunks. Used by one thread at a time."""

    def __init__(self, section: Section, state: State | None) -> None:
        saved = state["source"] if state else None
        self._records: Records = iterate(section.source, section.before, saved)
        self._steps = len(section.steps) + 1
        self._skip: int = state["rows"] if state else 0
        self._most = min(READ_AHEAD, count_workers(section.steps))
        self._ahead = max(1, self._skip)

    def next_chunk(self) -> LiveChunk | None:
        """The next records; those given before the state are read and left out."""
        before = self._records.state()
        rows: list[tuple[int, Any, int]] = []
        started = time.perf_counter()
        while len(rows) < self._ahead:
            try:
                record = next(self._records)
                rows.append((len(rows), record, estimate_bytes(record)))
            except StopIteration:
                break
            except USER_ERRORS as exc:  # raised in its place, when the iteration comes to it
                error = exc if isinstance(exc, Exception) else exit_error(exc, "before the first call")
                rows.append((len(rows), Failure(0, error), 0))
            if time.perf_counter() - started > CHUNK_SLOW_S and len(rows) >= self._skip:
                break
        if not rows:
            return None
        skipped, self._skip = self._skip, 0
        self._ahead = min(2 * self._ahead, self._most)
        counts = new_counts(self._steps)
        return LiveChunk("live", rows[skipped:], None, SourceTotals(), counts, before=before, skipped=skipped)

    def close(self) -> None:
        """Close the source."""
        self._records.close()
