"""What travels from the source half to its end: a record with all that becomes of it, and the marks in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tidemill.jobs.records.chunk import Chunk
from tidemill.jobs.records.outcomes import Failure

Path = tuple[int, ...]
"""Child index at each `flat_map` passed after the source half."""


@dataclass(slots=True, eq=False)
class Root:
    """A record at the end of the source half, with all that becomes of it.

    `landed` holds `(path, record)`, `rows` the ledger rows of its calls, `pending` the descendants not finished,
    `dropped` those that were dropped. `size_bytes` is about what it all takes; `recalled` counts the replies that an
    earlier sitting committed.
    """

    chunk: Chunk
    number: int
    part: str
    ordinal: int
    size_bytes: int
    pending: int = 1
    dropped: int = 0
    recalled: int = 0
    landed: list[tuple[Path, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mark:
    """The exact position behind all roots before it: where a segment may end."""

    chunk: Chunk
