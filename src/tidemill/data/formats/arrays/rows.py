"""Reading the arrays of a file as records: in order, exact at every row, and by number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

from tidemill.data.formats.arrays.arrays import WINDOW_ROWS, Arrays, MappedArrays, pick_records, to_records
from tidemill.data.formats.items import Items, Place
from tidemill.data.reader import PartReader, hold_failure
from tidemill.data.turns import Share
from tidemill.errors import DataError
from tidemill.protocols import Record, State


class Stamp(Protocol):
    """What tells a file, up to a row, from another."""

    def state(self, row: int) -> State:
        """What a state has besides its row."""
        ...

    def close(self) -> None:
        """Let go of the file; what was told once can be told again."""
        ...


Load = Callable[[Path], tuple[Arrays, tuple[str, ...], int]]
"""Opens the arrays of a file; gives its columns and the number of its rows as well."""


class _Run(Items):
    """Rows with nothing between them, or the one error that stands for all behind it."""

    __slots__ = ("after", "row")

    def __init__(self, row: int, items: list[Any], after: int, *, is_error: bool = False) -> None:
        super().__init__(items, is_error=is_error)
        self.row = row
        self.after = after

    def place(self, back: int) -> int:
        """The row that comes next."""
        passed = self.passed(back)
        return self.after if passed >= max(self.count, self._total) else self.row + passed


class ArrayReader(PartReader):
    """The rows of one file of arrays.

    Memory: of a local file that is not packed, the pages of 32 MiB that are read; else 256 rows.   Resume: exact; of a
    packed file, what stands before is unpacked again.   Threads: any, one at a time.
    """

    _arrays: Arrays
    _place: Place[_Run]
    _stamp: Stamp

    def state(self, back: int = 0) -> State:
        row = self._place.run.place(back)
        return {"row": row, **self._place.mark(back), **self._stamp.state(row)}

    def close(self) -> None:
        self._arrays.close()
        self._stamp.close()


def open_arrays(
    path: Path, arrays: Arrays, rows: int, stamp: Stamp, state: State | None, share: Share | None
) -> ArrayReader:
    """A reader of open arrays from their first row or from `state`; with a share, of the rows whose turn is its."""
    row = state["row"] if state else 0
    place = Place(_Run(row, [], row), share)
    links = hold_failure(_iter_links(path, arrays, rows, place))
    reader = cast(ArrayReader, ArrayReader.from_iterable(links))
    reader._arrays, reader._place, reader._stamp = arrays, place, stamp
    return reader


def _iter_links(path: Path, arrays: Arrays, rows: int, place: Place[_Run]) -> Iterator[Iterator[Any]]:
    row = place.run.place(0)
    while row < rows:
        stop = min(row + WINDOW_ROWS, rows)
        try:
            run = _Run(row, to_records(arrays.read(row, stop)), stop)
        except DataError as error:
            wrong = DataError(f"{rows - row:,} of its {rows:,} rows are lost: {error.message}", where=error.where)
            wrong.__cause__ = error.with_traceback(None)
            run, stop = _Run(row, [wrong], rows, is_error=True), rows
        yield place.follow(run)
        row = stop
    arrays.close()


class ArrayRows:
    """The rows of one file of arrays by their number, as `Rows`.

    Args:
        path: the file.
        load: what opens it.
    """

    def __init__(self, path: Path, load: Load) -> None:
        self._path = path
        self._load = load
        self._opened: tuple[Arrays, tuple[str, ...], int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def count_rows(self) -> int:
        return self._open()[2]

    def columns(self) -> tuple[str, ...]:
        return self._open()[1]

    def read_row(self, index: int) -> Record:
        return self.read_rows((index,))[0]

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        arrays = self._open()[0]
        if isinstance(arrays, MappedArrays):
            return pick_records(arrays.view(), indices)
        return [to_records(arrays.read(index, index + 1))[0] for index in indices]

    def read_array(self, name: str, places: range) -> Any | None:
        """One column of the rows at `places` as an array over the file itself; None of a file elsewhere."""
        arrays = self._open()[0]
        if not isinstance(arrays, MappedArrays) or name not in self.columns():
            return None
        if not places:
            return arrays.view()[name][:0]
        last = places[-1] + (1 if places.step > 0 else -1)
        return arrays.view()[name][places[0] : None if last < 0 else last : places.step]

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        return chain.from_iterable(self._iter_blocks(start, stop))

    def release(self) -> None:
        opened = self._opened
        if opened is not None:
            opened[0].close()
            self._opened = None

    def _iter_blocks(self, start: int, stop: int) -> Iterator[list[Record]]:
        arrays, _, _ = self._load(self._path)  # its own, whose pages are let go of behind it
        try:
            for first in range(start, stop, WINDOW_ROWS):
                yield to_records(arrays.read(first, min(first + WINDOW_ROWS, stop)))
        finally:
            arrays.close()

    def _open(self) -> tuple[Arrays, tuple[str, ...], int]:
        opened = self._opened
        if opened is None:
            self._opened = opened = self._load(self._path)
        return opened
