"""What a batch is made of, and how large one may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, eq=False)
class Share:
    """One record's part of a batch: its value, and how many tokens that has."""

    value: Any
    tokens: int


@dataclass(frozen=True, slots=True)
class Raised:
    """Stands for the result of a record whose `finish` failed."""

    error: BaseException


class Extent(NamedTuple):
    """How large a batch is.

    Attributes:
        records: how many.
        longest: tokens of the longest, 0 where nobody counts.
        elements: numbers in its input, padding too; where that has no tensors, the records.
    """

    records: int
    longest: int
    elements: int


class Size:
    """How large a batch may be: so many records, or tokens, and no larger than what there was room for.

    What has no room is told by the elements of its input, so that one long record among short ones makes the batches
    behind it no smaller. Read by any thread, written by the computing one.

    Args:
        most: records.
        most_tokens: their number times the longest; a longer record goes alone. None where nobody counts.
    """

    def __init__(self, most: int, most_tokens: int | None = None) -> None:
        self._most = most
        self._room: int | None = None
        self._each = 1.0  # elements of a record, in the last batch
        self.most_tokens = most_tokens

    @property
    def most(self) -> int:
        """Records in the next batch, as far as the last one tells."""
        return self._most if self._room is None else max(1, min(self._most, int(self._room / self._each)))

    def fits(self, count: int, longest: int) -> bool:
        """Whether so many records go together."""
        return count <= self.most and (count == 1 or self.most_tokens is None or count * longest <= self.most_tokens)

    def has_room(self, extent: Extent) -> bool:
        """Whether a batch is to be tried, which is noted: one as large as what had no room is not."""
        self._each = extent.elements / extent.records
        if extent.records == 1:
            return True
        has_tokens = self.most_tokens is None or extent.records * extent.longest <= self.most_tokens
        return has_tokens and (self._room is None or extent.elements <= self._room)

    def shrink(self, extent: Extent) -> None:
        """Have the halves of such a batch be the largest that are tried; a record alone says nothing of others."""
        if extent.records == 1:
            return
        half = (extent.records + 1) // 2
        if self.most_tokens is not None:
            self.most_tokens = min(self.most_tokens, half * extent.longest)
        else:
            room = max(1, extent.elements * half // extent.records)
            self._room = room if self._room is None else min(self._room, room)


class TooLargeError(Exception):
    """The batch is larger than what the device has room for: its halves are to be tried."""
