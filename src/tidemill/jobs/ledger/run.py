"""An open run: what its ledger says, and what changes as it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.segments import next_number
from tidemill.jobs.records.chunk import PartPosition, SourceTotals
from tidemill.jobs.records.counts import Counts


@dataclass(slots=True)
class OpenRun:
    """A run whose lock is held: what the ledger says, and what changes as it goes on.

    Attributes:
        counts: sealed records by step and outcome.
        sealed: sealed records of each pass, which is the number the next one takes.
        totals: where the source half stands over all parts.
        parts: where each part stands, in reading order.
        is_new: whether nothing of the run was there before.
    """

    folder: RunFolder
    ledger: Ledger
    info: dict[str, Any]
    segments: list[dict[str, Any]]
    parts: list[PartPosition]
    counts: Counts
    sealed: dict[int, int]
    totals: SourceTotals
    is_new: bool

    @property
    def next_segment(self) -> int:
        """The number the next segment takes."""
        return next_number(self.segments)
