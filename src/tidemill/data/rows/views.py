"""Rows made of other rows: chosen and ordered, mapped, joined, or those of any Python sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

from tidemill.data.failing.failures import raise_explained
from tidemill.data.formats.column import read_array
from tidemill.data.formats.format import Rows
from tidemill.data.rows.index import Index, Parted

BLOCK_ROWS = 256
"""Rows read at a time where they do not stand in a row."""


class IndexedRows:
    """The rows an index names, in its order."""

    def __init__(self, rows: Rows, index: Index) -> None:
        self._rows = rows
        self._index = index

    def count_rows(self) -> int:
        return len(self._index)

    def columns(self) -> tuple[str, ...]:
        return self._rows.columns()

    def read_row(self, index: int) -> Any:
        return self._rows.read_row(self._index[index])

    def read_rows(self, indices: Sequence[int]) -> list[Any]:
        return self._rows.read_rows([self._index[index] for index in indices])

    def read_array(self, name: str, places: range) -> Any | None:
        """One column of the rows at `places` as an array; see `tidemill.data.formats.column`."""
        rows = self._index.find_range()
        return None if rows is None else read_array(self._rows, name, rows[places.start : places.stop : places.step])

    def iter_rows(self, start: int, stop: int) -> Iterator[Any]:
        span = self._index.span
        if span is not None:
            return self._rows.iter_rows(span.start + start, span.start + stop)
        return chain.from_iterable(_iter_blocks(self, start, stop))

    def release(self) -> None:
        self._rows.release()


class MappedRows:
    """Rows with functions of one record applied, one after the other.

    Args:
        steps: each function with the name of its step.
    """

    def __init__(self, rows: Rows, steps: Sequence[tuple[Callable[[Any], Any], str]]) -> None:
        self._rows = rows
        self._steps = tuple(steps)

    def count_rows(self) -> int:
        return self._rows.count_rows()

    def columns(self) -> tuple[str, ...]:
        first = self.read_row(0) if self.count_rows() else {}
        return tuple(first) if isinstance(first, dict) else ()

    def read_row(self, index: int) -> Any:
        return self._apply(self._rows.read_row(index), index)

    def read_rows(self, indices: Sequence[int]) -> list[Any]:
        return list(map(self._apply, self._rows.read_rows(indices), indices))

    def iter_rows(self, start: int, stop: int) -> Iterator[Any]:
        return map(self._apply, self._rows.iter_rows(start, stop), range(start, stop))

    def release(self) -> None:
        self._rows.release()

    def _apply(self, record: Any, index: int) -> Any:
        for function, step in self._steps:
            try:
                record = function(record)
            except BaseException as error:  # noqa: BLE001 - raised again
                raise_explained(error, step, f"row {index}")
        return record


class EnteredRows:
    """Rows behind steps that are entered for each read, of one row or of many.

    Args:
        open_steps: gives the rows behind the steps, entered for the length of a `with`.
    """

    def __init__(self, rows: Rows, open_steps: Callable[[], AbstractContextManager[Rows]]) -> None:
        self._rows = rows
        self._open_steps = open_steps

    def count_rows(self) -> int:
        return self._rows.count_rows()

    def columns(self) -> tuple[str, ...]:
        with self._open_steps() as rows:
            return rows.columns()

    def read_row(self, index: int) -> Any:
        with self._open_steps() as rows:
            return rows.read_row(index)

    def read_rows(self, indices: Sequence[int]) -> list[Any]:
        with self._open_steps() as rows:
            return rows.read_rows(indices)

    def iter_rows(self, start: int, stop: int) -> Iterator[Any]:
        return chain.from_iterable(self._iter_links(start, stop))  # which goes on behind a row that failed

    def release(self) -> None:
        self._rows.release()

    def _iter_links(self, start: int, stop: int) -> Iterator[Iterator[Any]]:
        with self._open_steps() as rows:
            yield rows.iter_rows(start, stop)


class JoinedRows:
    """The rows of several, one after the other."""

    def __init__(self, members: Sequence[Rows]) -> None:
        self._members = tuple(members)
        self._parted = Parted(member.count_rows() for member in self._members)

    def count_rows(self) -> int:
        return len(self._parted)

    def columns(self) -> tuple[str, ...]:
        return self._members[0].columns() if self._members else ()

    def read_row(self, index: int) -> Any:
        number, first = self._parted.find(index)
        return self._members[number].read_row(index - first)

    def read_rows(self, indices: Sequence[int]) -> list[Any]:
        found: list[Any] = [None] * len(indices)
        for number, positions in self._parted.group(indices).items():
            first = self._parted.ends[number - 1] if number else 0
            rows = self._members[number].read_rows([indices[position] - first for position in positions])
            for position, row in zip(positions, rows, strict=True):
                found[position] = row
        return found

    def iter_rows(self, start: int, stop: int) -> Iterator[Any]:
        return chain.from_iterable(self._iter_stretches(start, stop))

    def release(self) -> None:
        for member in self._members:
            member.release()

    def _iter_stretches(self, start: int, stop: int) -> Iterator[Iterator[Any]]:
        while start < stop:
            number, first = self._parted.find(start)
            last = min(self._parted.ends[number], stop)
            yield self._members[number].iter_rows(start - first, last - first)
            start = last


class ZippedRows:
    """Tuples of the rows of several at one place, as many as the shortest has."""

    def __init__(self, members: Sequence[Rows]) -> None:
        self._members = tuple(members)

    def count_rows(self) -> int:
        return min(member.count_rows() for member in self._members)

    def columns(self) -> tuple[str, ...]:
        return ()

    def read_row(self, index: int) -> Any:
        return tuple(member.read_row(index) for member in self._members)

    def read_rows(self, indices: Sequence[int]) -> list[Any]:
        return list(zip(*(member.read_rows(indices) for member in self._members), strict=True))

    def iter_rows(self, start: int, stop: int) -> Iterator[Any]:
        return zip(*(member.iter_rows(start, stop) for member in self._members), strict=True)

    def release(self) -> None:
        for member in self._members:
            member.release()


class ObjectRows:
    """The items of an object with `__len__` and `__getitem__`; its own `read_rows` or `__getitems__` is used."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self._read_many = getattr(items, "read_rows", None) or getattr(items, "__getitems__", None)

    def read_array(self, name: str, places: range) -> Any | None:
        """One column of the items at `places` as an array; see `tidemill.data.formats.column`."""
        return read_array(self._items, name, places)

    def count_rows(self) -> int:
        return len(self._items)

    def columns(self) -> tuple[str, ...]:
        first = self._items[0] if len(self._items) else {}
        return tuple(first) if isinstance(first, dict) else ()

    def read_row(self, index: int) -> Any:
        return self._items[index]

    def read_rows(self, indices: Sequence[int]) -> list[Any]:
        if self._read_many is not None:
            return list(self._read_many(indices))
        return [self._items[index] for index in indices]

    def iter_rows(self, start: int, stop: int) -> Iterator[Any]:
        return chain.from_iterable(_iter_blocks(self, start, stop))

    def release(self) -> None:
        """Nothing of ours is held open."""


def _iter_blocks(rows: Rows, start: int, stop: int) -> Iterator[Iterator[Any]]:
    """The rows in blocks; of a block in which one cannot be read, each alone, so that it fails at its place."""
    for first in range(start, stop, BLOCK_ROWS):
        places = range(first, min(first + BLOCK_ROWS, stop))
        try:
            link = iter(rows.read_rows(places))
        except Exception:  # noqa: BLE001 - raised again when that row is read
            link = map(rows.read_row, places)
        yield link
