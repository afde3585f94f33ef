"""Parquet: random access and batched reading of one file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.errors import DataError, ResourceError
from tidemill.protocols import Record

_BATCH_ROWS = 1024
_BUFFER_BYTES = 1024 * 1024  # with pre_buffer off: 61 MB of growth where pyarrow's defaults take 400


class ParquetPart:
    """The rows of one Parquet file, opened on first use; holds the row group it read last.

    Threads and forked processes may share one: a file is read by position, and the row group is replaced whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: pq.ParquetFile | None = None
        self._group: tuple[int, pa.Table] | None = None
        self._ends: list[int] = []

    def count_rows(self) -> int:
        """The number of rows, from the file's footer."""
        return int(self._open().metadata.num_rows)

    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._open().schema_arrow.names)

    def read_row(self, index: int) -> Record:
        """One row; its row group is read unless it is the one read last."""
        file = self._open()
        number = bisect_right(self._ends, index)
        group = self._group
        if group is None or group[0] != number:
            self._group = group = (number, file.read_row_group(number, use_threads=False))
        row: Record = group[1].slice(index - self._start_of(number), 1).to_pylist()[0]
        return row

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        """The rows at `indices`, in that order."""
        return [self.read_row(index) for index in indices]

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        """The rows `start` to `stop`, read in batches of 1024."""
        file = self._open()
        first = bisect_right(self._ends, start)
        last = bisect_right(self._ends, stop - 1)
        rows = _iter_batches(file, list(range(first, last + 1)))
        offset = self._start_of(first)
        return islice(rows, start - offset, stop - offset)

    def release(self) -> None:
        """Let go of the file and the row group; the next use opens it again."""
        self._file = None
        self._group = None

    def _start_of(self, number: int) -> int:
        return self._ends[number - 1] if number else 0

    def _open(self) -> pq.ParquetFile:
        file = self._file
        if file is None:
            try:
                file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=_BUFFER_BYTES)
            except OSError as error:
                raise ResourceError(f"cannot be read: {error.strerror or error}", where=str(self._path)) from error
            except pa.ArrowInvalid as error:
                raise DataError(f"expected a Parquet file: {error}", where=str(self._path)) from error
            groups = range(file.metadata.num_row_groups)
            self._ends = list(accumulate(file.metadata.row_group(number).num_rows for number in groups))
            self._file = file
        return file


def _iter_batches(file: pq.ParquetFile, groups: list[int]) -> Iterator[Record]:
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups, use_threads=False):
        yield from batch.to_pylist()
