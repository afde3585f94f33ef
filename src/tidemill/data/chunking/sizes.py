"""What a user says of chunks, and the columns they have; loads nothing that cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

By = Literal["tokens", "words", "sentences", "headings"]
"""Where a chunk ends, if it can."""

Unit = Literal["tokens", "chars", "bytes"]
"""What sizes are counted in."""

PLACES: Final = ("chunk", "start", "stop")
"""The columns that each chunk has: its number within its record, and the characters it stands at."""
HEADINGS: Final = "headings"
"""The column of the titles that a chunk stands under, where it is cut by headings."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large chunks are, in what the ruler counts.

    Attributes:
        limit: at most.
        overlap: how much of a chunk's end stands at the beginning of the next one, at most.
        least: no chunk is smaller where it can be helped.
    """

    limit: int
    overlap: int = 0
    least: int = 0
