"""A file whose records are found by an index, and its bytes at any place."""

from __future__ import annotations

import mmap
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from tidemill.data.files import open_random, stat_file
from tidemill.data.formats.line_index import Indexing, open_index
from tidemill.errors import ResourceError, StateError


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
