"""Packed records: several token sequences in one, and where each begins and ends.

`segment_ids` and `positions` are as Tensor2Tensor, seqio and grain have them, without the padding: the sequences of a
record are numbered from 1, and positions begin at 0 in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tidemill.data.records.columns import missing_column
from tidemill.errors import DataError

SEGMENT_IDS, POSITIONS = "segment_ids", "positions"
"""The columns that packing adds."""

Columns = tuple[Any, ...]
"""Lists: the values of the packed columns in one record, equally many in each; the tokens first."""

Piece = tuple[Columns, int, int]
"""A stretch `start, stop` of a record's tokens."""


def make_reader(names: Sequence[str]) -> Callable[[Any], Columns]:
    """What takes the columns `names` out of a record.

    Raises (what it gives): DataError: a column is missing, holds no flat list, or has another length than the first.
    """
    first, *others = names

    def read(record: Any) -> Columns:
        tokens = _read_list(record, first)
        columns = [tokens, *(_read_list(record, name) for name in others)]
        for name, values in zip(others, columns[1:], strict=True):
            if len(values) != len(tokens):
                raise DataError(
                    f"expected as many values in `{name}` as in `{first}`, {len(tokens):,}, got {len(values):,}"
                )
        return tuple(columns)

    return read


def render_packed(names: Sequence[str], pieces: Sequence[Piece]) -> dict[str, list[Any]]:
    """The packed record of these stretches."""
    packed: dict[str, list[Any]] = {name: [] for name in names}
    segment_ids: list[int] = []
    positions: list[int] = []
    for number, (columns, start, stop) in enumerate(pieces, 1):
        for values, column in zip(packed.values(), columns, strict=True):
            values += column[start:stop]
        segment_ids += [number] * (stop - start)
        positions += range(stop - start)
    return {**packed, SEGMENT_IDS: segment_ids, POSITIONS: positions}


class OpenBins:
    """Bins of `limit` tokens that are being filled; at most `count` are opened before all are emptied.

    The first bin with room is found in a tree of the most room below each node: 2 log2(bins) comparisons. It grows with
    the bins that are opened.
    """

    def __init__(self, limit: int, count: int) -> None:
        self._limit = limit
        self._count = count
        self._leaves = 1
        self._prepare()

    def _prepare(self) -> None:
        self._room = [0] * (2 * self._leaves)
        self._bins: list[list[Piece]] = []

    @property
    def are_spent(self) -> bool:
        """Whether as many were opened as may be, full ones included."""
        return len(self._bins) >= self._count

    def find(self, size: int) -> int | None:
        """The first bin with room for `size` tokens."""
        room = self._room
        if room[1] < size:
            return None
        node = 1
        while node < self._leaves:
            node *= 2
            if room[node] < size:
                node += 1
        return node - self._leaves

    def open(self) -> int:
        """An empty bin."""
        if len(self._bins) == self._leaves:
            self._grow()
        self._bins.append([])
        self._set_room(len(self._bins) - 1, self._limit)
        return len(self._bins) - 1

    def add(self, number: int, piece: Piece) -> list[Piece] | None:
        """Put `piece` into a bin; gives what the bin holds, and lets go of it, once it is full."""
        pieces = self._bins[number]
        pieces.append(piece)
        _, start, stop = piece
        room = self._room[self._leaves + number] - (stop - start)
        self._set_room(number, room)
        if room:
            return None
        self._bins[number] = []
        return pieces

    def empty(self) -> Iterator[list[Piece]]:
        """What each bin that is not full holds, in the order they were opened; then none is open."""
        bins = self._bins
        self._prepare()
        for pieces in bins:
            if pieces:
                yield pieces

    def _grow(self) -> None:
        """Make room in the tree for twice as many bins."""
        rooms = self._room[self._leaves :]
        self._leaves *= 2
        self._room = tree = [0] * self._leaves + rooms + [0] * len(rooms)
        for node in range(self._leaves - 1, 0, -1):
            tree[node] = max(tree[2 * node], tree[2 * node + 1])

    def _set_room(self, number: int, room: int) -> None:
        tree = self._room
        node = self._leaves + number
        tree[node] = room
        while node > 1:
            node //= 2
            most = max(tree[2 * node], tree[2 * node + 1])
            if tree[node] == most:
                return
            tree[node] = most


def _read_list(record: Any, name: str) -> list[Any]:
    try:
        values = record[name]
    except (KeyError, TypeError, IndexError):
        raise missing_column(name, record) from None
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        raise DataError(f"expected a list in `{name}`, got {type(values).__name__}")
    if values and isinstance(values[0], (list, tuple)):
        raise DataError(f"expected a flat list in `{name}`, got one of lists", hint="unbatch it first")
    return list(values) if isinstance(values, tuple) else values
