"""The rows of several files, each opened when a row of it is asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from tidemill.data.formats.column import join_arrays, read_array
from tidemill.data.formats.format import Rows
from tidemill.data.rows.index import Parted
from tidemill.errors import StateError
from tidemill.protocols import Record

MAX_OPEN_PARTS = 4
"""Parts held open at a time; of Parquet each holds one row group in memory."""


class FileRows:
    """The rows of files, one after the other, as `Rows`; the file used longest ago is let go of.

    Threads and forked processes may share one.

    Args:
        open_file: the rows of one file.
        sizes: rows of each file; None counts them on first use.
    """

    def __init__(
        self, paths: Sequence[Path], open_file: Callable[[Path], Rows], sizes: Sequence[int] | None = None
    ) -> None:
        self._paths = tuple(paths)
        self._open_file = open_file
        self._sizes = sizes
        self._places: Parted | None = None
        self._files: dict[int, Rows] = {}
        self._recent: OrderedDict[int, None] = OrderedDict()
        self._lock = Lock()  # guards the two above

    def count_rows(self) -> int:
        return len(self._parted())

    def columns(self) -> tuple[str, ...]:
        """The columns of the first file."""
        return self._open(0).columns() if self._paths else ()

    def read_row(self, index: int) -> Record:
        number, first = self._parted().find(index)
        return self._open_checked(number).read_row(index - first)

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        parted = self._parted()
        groups = parted.group(indices)
        found: list[Any] = [None] * len(indices)
        for number, positions in groups.items():
            first = parted.ends[number - 1] if number else 0
            rows = self._open_checked(number).read_rows([indices[position] - first for position in positions])
            if len(groups) == 1:
                return rows
            for position, row in zip(positions, rows, strict=True):
                found[position] = row
        return found

    def read_array(self, name: str, places: range) -> Any | None:
        """One column of the rows at `places` as an array: over the file that holds them, of several files a copy.

        None where one of the files has none to give.
        """
        if not self._paths:
            return None
        if not places:
            return read_array(self._open_checked(0), name, places)
        low, high = sorted((places[0], places[-1]))
        views: list[Any] = [read_array(rows, name, range(*span)) for rows, *span in self._iter_stretches(low, high + 1)]
        if any(view is None or view.shape[1:] != views[0].shape[1:] for view in views):
            return None
        return join_arrays(views)[:: places.step]

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        return chain.from_iterable(rows.iter_rows(*span) for rows, *span in self._iter_stretches(start, stop))

    def release(self) -> None:
        with self._lock:
            for number in self._recent:
                self._files[number].release()
            self._recent.clear()

    def _iter_stretches(self, start: int, stop: int) -> Iterator[tuple[Rows, int, int]]:
        """Each file that holds some of the rows, with which of its own they are."""
        parted = self._parted()
        while start < stop:
            number, first = parted.find(start)
            last = min(parted.ends[number], stop)
            yield self._open_checked(number), start - first, last - first
            start = last

    def _parted(self) -> Parted:
        if self._places is None:
            if self._sizes is None:
                self._sizes = [self._open(number).count_rows() for number in range(len(self._paths))]
            self._places = Parted(self._sizes)
        return self._places

    def _open_checked(self, number: int) -> Rows:
        file = self._open(number)
        if self._sizes is not None and file.count_rows() != self._sizes[number]:
            raise StateError(
                f"expected {self._sizes[number]:,} records, got {file.count_rows():,}: the file changed",
                where=str(self._paths[number]),
                hint="open the dataset anew",
            )
        return file

    def _open(self, number: int) -> Rows:
        with self._lock:
            file = self._files.get(number)
            if file is None:
                self._files[number] = file = self._open_file(self._paths[number])
            self._recent[number] = None
            self._recent.move_to_end(number)
            if len(self._recent) > MAX_OPEN_PARTS:
                self._files[self._recent.popitem(last=False)[0]].release()
        return file
