"""What travels from the source half to its end: a record with all that becomes of it, and the marks in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tidemill.jobs.records.chunk import Chunk
from tidemill.jobs.records.outcomes import Failure

Path = tuple[int, ...]
"""Child index at each `flat_map` passed after the source half."""


class Root:
    """A record at the end of the source half, with all that becomes of it.

    Attributes:
        number: counts the records of its pass, from the first that the run ever read on.
        order: where it stands among all that the pass over the source read: its number there, which a retry keeps.
        size_bytes: about what it all takes.
        pending: descendants not finished.
        dropped: those that were dropped.
        recalled: replies that an earlier sitting committed.
        landed: those that came to the end, as `(path, record)`.
        rows: the ledger rows of its calls.
    """

    __slots__ = (
        "chunk",
        "dropped",
        "failures",
        "landed",
        "number",
        "order",
        "ordinal",
        "part",
        "pending",
        "recalled",
        "rows",
        "size_bytes",
    )

    # Written out: one that `dataclass` makes takes twice as long, and there is one for each record.
    def __init__(self, chunk: Chunk, number: int, ordinal: int, size_bytes: int) -> None:
        self.chunk = chunk
        self.number = self.order = number
        self.part = chunk.part
        self.ordinal = ordinal
        self.size_bytes = size_bytes
        self.pending = 1
        self.dropped = self.recalled = 0
        self.landed: list[tuple[Path, Any]] = []
        self.failures: list[Failure] = []
        self.rows: list[bytes] = []


@dataclass(frozen=True, slots=True)
class Mark:
    """The exact position behind all roots before it: where a segment may end."""

    chunk: Chunk

    pending: ClassVar[int] = 0
