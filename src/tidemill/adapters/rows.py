"""The rows of tables that other libraries hold, as records by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import pyarrow as pa

from tidemill.errors import DataError
from tidemill.protocols import Record

_BLOCK_ROWS = 1024


def from_arrow(table: Any) -> ArrowRows:
    """The rows of a table as dicts: of a `pyarrow.Table`, a pandas or polars frame, or anything else that is one.

    What has `__arrow_c_stream__` is a table. Columns stay where they are; rows are made when they are asked for. The
    index of a pandas frame is no column.

    Raises:
        DataError: it is no table.
    """
    if hasattr(table, "iloc") and hasattr(table, "columns"):  # pandas, whose columns of objects are converted in blocks
        return ArrowRows(_PandasFrame(table))
    if isinstance(table, pa.Table):
        return ArrowRows(_ArrowTable(table))
    if not hasattr(table, "__arrow_c_stream__"):
        raise DataError(
            f"expected a table of Arrow, pandas or polars, got a {type(table).__name__}",
            hint="anything with `__arrow_c_stream__` is one; a LazyFrame is after `.collect()`",
        )
    return ArrowRows(_ArrowTable(pa.table(table)))


class ArrowRows:
    """Rows by number: `rows[7]`, `rows[-1]`, `rows[2:5]` as a list, `len`, and iteration in blocks.

    Memory: a block of 1,024 rows while iterating.   Threads and forked processes may share one.
    """

    def __init__(self, frame: _ArrowTable | _PandasFrame) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return self._frame.count()

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        chosen = range(len(self))[index]  # raises what a list does
        if isinstance(chosen, int):
            return self._frame.slice(chosen, 1)[0]
        return self.read_rows(chosen)

    def __iter__(self) -> Iterator[Record]:
        return self.iter_rows(0, len(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrowRows) and self._frame.equals(other._frame)

    def __hash__(self) -> int:
        return hash((len(self), self.columns))

    def __repr__(self) -> str:
        return f"<ArrowRows: {len(self):,} rows, columns {', '.join(self.columns) or 'none'}>"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._frame.columns()

    def narrow(self, columns: Sequence[str]) -> ArrowRows:
        """The same rows with these columns alone."""
        return ArrowRows(self._frame.narrow(columns))

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        """The rows of these numbers, in their order, converted in one go.

        Raises:
            IndexError: there is no such row.
        """
        count = len(self)
        chosen = [index + count if index < 0 else index for index in indices]
        if chosen and not (min(chosen) >= 0 and max(chosen) < count):
            wrong = next(index for index in indices if not -count <= index < count)
            raise IndexError(f"index {wrong} is out of range: there are {count:,} rows")
        return self._frame.take(chosen)

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        """The rows from `start` to `stop`, block by block."""
        for first in range(start, stop, _BLOCK_ROWS):
            yield from self._frame.slice(first, min(_BLOCK_ROWS, stop - first))


class _ArrowTable:
    """A table whose columns lie in memory, or are mapped from a file."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def count(self) -> int:
        return self._table.num_rows

    def columns(self) -> tuple[str, ...]:
        return tuple(self._table.column_names)

    def narrow(self, columns: Sequence[str]) -> _ArrowTable:
        return _ArrowTable(self._table.select(list(columns)))

    def equals(self, other: Any) -> bool:
        return isinstance(other, _ArrowTable) and bool(self._table.equals(other._table))

    def slice(self, start: int, length: int) -> list[Record]:
        return self._table.slice(start, length).to_pylist()

    def take(self, indices: list[int]) -> list[Record]:
        try:
            return self._table.take(pa.array(indices, pa.int64())).to_pylist()
        except pa.ArrowNotImplementedError:  # text as polars holds it (string_view), which Arrow only slices
            return [row for index in indices for row in self.slice(index, 1)]


class _PandasFrame:
    """A pandas frame, converted where it is read."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def count(self) -> int:
        return len(self._frame)

    def columns(self) -> tuple[str, ...]:
        return tuple(map(str, self._frame.columns))

    def narrow(self, columns: Sequence[str]) -> _PandasFrame:
        return _PandasFrame(self._frame[list(columns)])

    def equals(self, other: Any) -> bool:
        return isinstance(other, _PandasFrame) and bool(self._frame.equals(other._frame))

    def slice(self, start: int, length: int) -> list[Record]:
        return self._convert(self._frame.iloc[start : start + length])

    def take(self, indices: list[int]) -> list[Record]:
        return self._convert(self._frame.iloc[indices])

    def _convert(self, frame: Any) -> list[Record]:
        try:
            return pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
        except (pa.ArrowException, TypeError) as error:
            raise DataError(f"expected columns of one type each: {error}", hint="`frame.astype({…: str})`") from error
