"""Chunks: records read together, and the exact position in the source behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.jobs.records.counts import Counts
from tidemill.protocols import State

CHUNK_RECORDS = 256
CHUNK_BYTES = 4 << 20
CHUNK_RESULT_BYTES = 16 << 20
"""What the records of one chunk come to at the end, about, at most: a segment holds whole chunks."""

CHUNK_SLOW_S = 0.01
"""A chunk ends early when reading it took this long, so that a slow source is handed on record by record."""


@dataclass(frozen=True, slots=True)
class PartPosition:
    """How far one source part is sealed.

    Attributes:
        name: the part.
        turn: its place in reading order; a part that grew after it was done gets a later one.
        ordinal: the ordinal its next record takes.
        state: where its iterator stands, None at the start.
        skip: records of the source record at `state` that are sealed already (behind a `flat_map`).
        done: whether its end was reached.
    """

    name: str
    turn: int
    ordinal: int = 0
    state: State | None = None
    skip: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class SourceTotals:
    """What the source half has done over all parts: kept when it looks across records.

    Attributes:
        ordinal: records given, when the whole source is one part.
        taken: records each `take` has passed, by its place.
    """

    ordinal: int = 0
    taken: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Chunk:
    """Records read together: the stretch of source between two exact positions.

    `rows` holds `(ordinal, record or Failure or Redo, size in bytes)`. `position` stands behind the last row, and is
    None where no source is read (a retry). `passed` are parts that were read to their end within a source half that is
    one part itself.
    """

    part: str
    rows: list[tuple[int, Any, int]]
    position: PartPosition | None
    totals: SourceTotals
    counts: Counts
    passed: Sequence[PartPosition] = ()
