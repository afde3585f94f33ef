"""A file whose records are found by an index: its bytes at any place, and its records by their number."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from tidemill.data.files import open_random, stat_file
from tidemill.data.formats.line_index import Indexing, open_index
from tidemill.data.reader import raise_each
from tidemill.errors import DataError, ResourceError, StateError
from tidemill.protocols import Record


class IndexedFile:
    """A file's bytes, mapped where they can be, and where its records begin.

    Attributes:
        path: the file.
        starts: offsets of each record, then where the last one ends.
        data: the bytes, to be sliced.
        size: how many there are.
    """

    def __init__(self, path: Path, indexing: Indexing) -> None:
        index = open_index(path, indexing)
        self.path = path
        self.starts = index.starts
        self.data: mmap.mmap | _Far | bytes = _open_bytes(path) if index.stamp["size"] else b""
        self.size: int = index.stamp["size"]
        self._stamp = index.stamp

    def __len__(self) -> int:
        return len(self.starts) - 1

    def check_unchanged(self, number: int) -> None:
        """Check that the file is as it was, for the sake of the record of this number.

        Raises:
            StateError: it changed.
        """
        if isinstance(self.data, _Far):
            return  # a request for each read would cost more than the read
        if stat_file(self.path) != self._stamp:
            raise StateError(
                f"row {number} is gone: the file changed", where=str(self.path), hint="open the dataset anew"
            )


class _Far:
    """The bytes of a file that cannot be mapped; a lock guards where it stands."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = Lock()

    def __getitem__(self, span: slice) -> bytes:
        with self._lock:
            self._file.seek(span.start)
            return self._file.read(span.stop - span.start)


def _open_bytes(path: Path) -> mmap.mmap | _Far:
    file = open_random(path)
    try:
        descriptor = file.fileno()
    except OSError:
        return _Far(file)
    with file:
        try:
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: it was emptied
            raise ResourceError(f"cannot be read: {error}", where=str(path)) from error


class IndexedFileRows(ABC):
    """The records of one plain file by an index, as `Rows`; what a record is, says the format.

    Memory: none of its own but the index, 8 bytes a record, mapped from the user's cache; so is the file. The pages
    that were read are the system's to keep or to drop.

    Attributes:
        indexing: how the records are found.
    """

    indexing: Indexing

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: IndexedFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def count_rows(self) -> int:
        return len(self._open())

    def columns(self) -> tuple[str, ...]:
        return tuple(self.read_row(0)) if self.count_rows() else ()

    def read_row(self, index: int) -> Record:
        return self.read_rows((index,))[0]

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        opened = self._open()
        opened.check_unchanged(indices[0] if len(indices) else 0)
        return self._parse_all(opened, indices)

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        return chain.from_iterable(self._iter_links(start, stop))

    def release(self) -> None:
        self._opened = None

    @abstractmethod
    def _parse(self, opened: IndexedFile, index: int) -> Record:
        """The record of this number.

        Raises:
            DataError: it is corrupt.
        """

    def _parse_all(self, opened: IndexedFile, indices: Sequence[int]) -> list[Record]:
        """The records of these numbers, at once where the format can."""
        return [self._parse(opened, index) for index in indices]

    def _iter_links(self, start: int, stop: int) -> Iterator[Iterator[Record]]:
        """The records from `start` to `stop` in runs, a corrupt one alone: it raises, and the next run follows."""
        opened = self._open()
        for index in range(start, stop):
            opened.check_unchanged(index)
            yield self._link(opened, index)

    def _link(self, opened: IndexedFile, index: int) -> Iterator[Record]:
        try:
            return iter((self._parse(opened, index),))
        except DataError as error:
            return raise_each((error,))

    def _open(self) -> IndexedFile:
        opened = self._opened
        if opened is None:
            self._opened = opened = IndexedFile(self._path, self.indexing)
        return opened
