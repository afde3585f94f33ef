"""The bound on failures: how many records failed, and whether that stops the run."""

from __future__ import annotations

from tidemill.jobs.records.counts import DROPPED, PASSED, QUARANTINED, SKIPPED, Counts

JUDGED_FROM = 200
"""Records finished before a ratio of errors is judged while running."""

IN_A_ROW = 100
"""Records failed one after another that stop a run whatever the ratio."""


class ErrorCount:
    """How many records failed, against `max_errors`: below 1 a ratio of the records finished, else a count.

    Counted are outcomes behind the source half, the children of a `flat_map` each, so that a run that was ended and
    resumed is judged as one that never was.

    Args:
        max_errors: the bound.
        first: the place in the counts of the first step of the record half.
        only_at_end: for a `retry`, whose records failed before and may well fail again, also many in a row.
    """

    def __init__(self, max_errors: float, *, first: int, only_at_end: bool = False) -> None:
        self._max_errors = max_errors
        self._first = first
        self._only_at_end = only_at_end
        self._in_a_row = 0
        self.finished = 0
        self.failed = 0

    def note(self, finished: int, failed: int) -> None:
        """One more record of the source half came to its end: as so many outcomes, so many of them failures."""
        self.finished += finished
        self.failed += failed
        self._in_a_row = self._in_a_row + 1 if failed else 0

    def recount(self, counts: Counts) -> None:
        """Nothing is finished but what `counts` says."""
        self.failed = sum(row[QUARANTINED] for row in counts)
        self.finished = self.failed + counts[-1][PASSED] + sum(row[SKIPPED] for row in counts)
        self.finished += sum(row[DROPPED] for row in counts[self._first :])

    def find_breach(self, *, at_end: bool = False) -> str | None:
        """Why the run must stop, None when it need not."""
        if self._only_at_end and not at_end:
            return None
        if self._in_a_row >= IN_A_ROW and not self._only_at_end:
            return f"{self._in_a_row} records in a row failed"
        most = self._max_errors
        if most >= 1:
            return f"{self.failed} records failed, max_errors is {most:g}" if self.failed > most else None
        if not self.finished or (self.finished < JUDGED_FROM and not at_end):
            return None
        ratio = self.failed / self.finished
        if ratio <= most:
            return None
        return f"{self.failed} of {self.finished} records failed ({ratio:.1%}), max_errors is {most:g}"
