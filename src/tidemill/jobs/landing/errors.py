"""The bound on failures: how many records failed, and whether that stops the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

from tidemill.jobs.records.counts import (
    DROPPED,
    EMITTED,
    IN,
    PASSED,
    QUARANTINED,
    SKIPPED,
    Counts,
    add_counts,
    new_counts,
)
from tidemill.jobs.records.outcomes import Failure

JUDGED_FROM = 200
"""Records that came to a place before a ratio of errors is judged there while running."""

IN_A_ROW = 100
"""Records failed one after another that stop a run whatever the ratio."""


class _Share(NamedTuple):
    """How many of the records that came to a place failed there."""

    place: str
    failed: int
    taken: int

    @property
    def kept_ratio(self) -> Fraction:
        return Fraction(self.taken - self.failed, self.taken)


class ErrorCount:
    """How many records failed, against `max_errors`: below 1 a ratio, else a count.

    A ratio is judged by what is lost on the way: at each step of the source half of the records that it took, and in
    the record half of the outcomes there, the children of a `flat_map` each. Where no step holds records back, drops
    or gathers any, that is the ratio of all records; where one does, those that came to it count all the same. It all
    follows from the counts, so that a run that was ended and resumed is judged as one that never was.

    Args:
        max_errors: the bound.
        names: the steps as counted.
        first: the place in the counts of the first step of the record half.
        skipping: the steps whose failures are no errors.
        only_at_end: for a `retry`, whose records failed before and may well fail again, also many in a row.

    Attributes:
        failed: records that failed.
        last_failure: the last of those that count, in this sitting.
    """

    def __init__(
        self,
        max_errors: float,
        names: Sequence[str],
        *,
        first: int,
        skipping: Collection[int] = (),
        only_at_end: bool = False,
    ) -> None:
        self._max_errors = max_errors
        behind = "in the record half" if first < len(names) - 1 else f"at `{names[-1]}`"
        self._places = [*(f"at `{name}`" for name in names[:first]), behind]
        self._first = first
        self._skipping = skipping
        self._only_at_end = only_at_end
        self._read = new_counts(first)  # of the source half
        self._ended = self._lost = 0  # outcomes in the record half, and failures among them
        self._in_a_row: Counter[int] = Counter()  # by step, those of the record half as one
        self.failed = 0
        self.last_failure: Failure | None = None

    def note(self, others: int, failures: Sequence[Failure], read: Counts) -> None:
        """Records of one chunk came to their end: one of them as `failures`, and as so many other outcomes.

        Args:
            read: what the source half made of the chunk.
        """
        behind = [failure for failure in failures if failure.step >= self._first]
        self._ended += others + len(behind)
        self._lost += sum(failure.step not in self._skipping for failure in behind)
        counted = [failure for failure in failures if failure.step not in self._skipping]
        if not counted:
            self._in_a_row.clear()
            return
        self.failed += len(counted)
        self.last_failure = counted[-1]
        step = min(counted[0].step, self._first)
        self._in_a_row[step] = 0 if _let_pass(read[step : self._first]) else self._in_a_row[step] + 1

    def note_chunk(self, counts: Counts) -> None:
        """All records of a chunk came to their end."""
        add_counts(self._read, counts[: self._first])

    def note_misfits(self, count: int) -> None:
        """So many records that came to their end did not fit the sink."""
        self.failed += count
        self._lost += count

    def recount(self, counts: Counts) -> None:
        """Nothing is finished but what `counts` says."""
        self._read = [list(row) for row in counts[: self._first]]
        behind = counts[self._first :]
        self.failed = sum(row[QUARANTINED] for row in counts)
        self._lost = sum(row[QUARANTINED] for row in behind)
        self._ended = self._lost + counts[-1][PASSED] + sum(row[SKIPPED] + row[DROPPED] for row in behind)

    def find_breach(self, *, at_end: bool = False) -> str | None:
        """Why the run must stop, None when it need not."""
        if self._only_at_end and not at_end:
            return None
        in_a_row = self._in_a_row.total()
        if in_a_row >= IN_A_ROW and not self._only_at_end:
            return f"{in_a_row} records in a row failed"
        most = self._max_errors
        if most >= 1:
            return f"{self.failed} records failed, max_errors is {most:g}" if self.failed > most else None
        shares = self._find_shares(1 if at_end else JUDGED_FROM)
        lost_ratio = float(1 - prod(share.kept_ratio for share in shares))
        return f"{_explain(shares, lost_ratio)}, max_errors is {most:g}" if lost_ratio > most else None

    def _find_shares(self, least: int) -> list[_Share]:
        """Of the places that at least so many records came to, those where any failed."""
        counted = [*((row[QUARANTINED], row[IN]) for row in self._read), (self._lost, self._ended)]
        shares = (_Share(place, *numbers) for place, numbers in zip(self._places, counted, strict=True))
        return [share for share in shares if share.failed and share.taken >= least]


def _let_pass(counts: Counts) -> bool:
    """Whether these steps of the source half hold records that came to them, or dropped any: none is met behind."""
    return any(row[DROPPED] or row[PASSED] > row[EMITTED] for row in counts)


def _explain(shares: Sequence[_Share], lost_ratio: float) -> str:
    if len(shares) == 1:
        return f"{shares[0].failed} of {shares[0].taken} records failed ({lost_ratio:.1%})"
    each = ", ".join(f"{share.failed} of {share.taken} {share.place}" for share in shares)
    return f"{sum(share.failed for share in shares)} records failed: {each} ({lost_ratio:.1%} in all)"
