"""The bytes of a source file as they lie where they are stored, known well enough to go on from later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from isal import isal_zlib

from tidemill.data.files.path import AnyPath, RemotePath, find_local
from tidemill.errors import ResourceError
from tidemill.protocols import Growth, State

BLOCK_BYTES = 64 * 1024
"""Read, and unpacked, at a time; measured: records parsed from larger blocks leave the second-level cache."""

_CHECKSUM_BLOCK_BYTES = 1024 * 1024


class PartFile:
    """A file's bytes as they are stored, and what tells later whether the first so many of them are the same.

    Of a local file that is their checksum (CRC-32). Reading a file nobody asks the state of costs none: `state()`
    reads what came since the last one once more, out of the system's cache. Of a remote file it is the version that
    its file system tells.

    Closed when it is dropped. Usable from any thread, one at a time.

    Attributes:
        position: where the next block is read.
        frontier: the furthest byte read, now or up to the state that was gone on from.

    Raises:
        ResourceError: the file cannot be opened or read.
    """

    def __init__(self, path: AnyPath, state: State | None = None) -> None:
        self.path = path
        self.position = 0
        self._stored = _open_stored(path, state)
        self.frontier = count_bytes(state) if state is not None else 0

    def __del__(self) -> None:
        self.close()

    def read(self) -> bytes:
        """The next block, empty at the end."""
        data = self._stored.read(BLOCK_BYTES)
        self.position += len(data)
        self.frontier = max(self.frontier, self.position)
        return data

    def seek(self, position: int) -> None:
        """Go on reading at `position`, at or before the frontier."""
        self._stored.seek(position)
        self.position = position

    def state(self, size_bytes: int) -> State:
        """What tells so many bytes from other ones, and the file as it was when it was opened."""
        return self._stored.state(size_bytes)

    def close(self) -> None:
        """Close the file; it may be closed already."""
        stored = getattr(self, "_stored", None)  # missing when opening failed
        if stored is not None:
            stored.close()


class _Stored(Protocol):
    """An open file, wherever it is."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, position: int, /) -> object: ...
    def state(self, size_bytes: int) -> State: ...
    def close(self) -> None: ...


class _LocalFile:
    def __init__(self, path: Path, state: State | None) -> None:
        self._path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by `close`, at the latest on drop
        except OSError as error:
            raise _resource_error(path, error) from error
        stat = os.fstat(self._file.fileno())
        self._stamp = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        self._sums = [(0, 0)]  # sizes with their checksums, the last ones asked for first
        if state is not None:
            size_bytes, crc = state["crc"]
            self._sums.insert(0, (size_bytes, crc))
        self.seek = self._file.seek
        self.close = self._file.close

    def read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            raise _resource_error(self._path, error) from error
        if not data and self._file.tell() < self._stamp["size"]:
            raise cut_while_read(self._path, self._stamp["size"], self._file.tell())
        return data

    def state(self, size_bytes: int) -> State:
        known, crc = next(sum_ for sum_ in self._sums if sum_[0] <= size_bytes)
        if known < size_bytes:
            crc = self._extend_crc(crc, known, size_bytes)
            if size_bytes > self._sums[0][0]:  # a reader may be asked where it stood one record back, too
                self._sums = [(size_bytes, crc), self._sums[0], (0, 0)]
        return {"crc": [size_bytes, crc], **self._stamp}

    def _extend_crc(self, crc: int, start: int, stop: int) -> int:
        if self._file.closed:
            return compute_crc(self._path, stop, start=start, crc=crc)
        try:
            return _extend_crc(self._file.fileno(), start, stop, crc)
        except OSError as error:
            raise _resource_error(self._path, error) from error


def cut_while_read(path: AnyPath, size_bytes: int, left_bytes: int) -> ResourceError:
    """That a file which had so many bytes when it was opened has fewer: its end is not that of the data."""
    return ResourceError(
        f"the file was cut while it was read: it had {size_bytes:,} bytes, of which "
        f"{left_bytes:,} were there to be read",
        where=str(path),
        hint="put it back and go on from the state, or read it anew",
    )


def check_whole(file: BinaryIO, path: AnyPath, size_bytes: int) -> None:
    """Check that an open local file has at least the bytes that it had.

    Raises:
        ResourceError: it was cut.
    """
    left_bytes = os.fstat(file.fileno()).st_size
    if left_bytes < size_bytes:
        raise cut_while_read(path, size_bytes, left_bytes)


def _open_stored(path: AnyPath, state: State | None) -> _Stored:
    local = find_local(path)
    if local is not None:
        return _LocalFile(local, state)
    from tidemill.data.files.remote import open_ahead

    return open_ahead(cast(RemotePath, path))


def count_bytes(state: State) -> int:
    """The bytes of the file, as it is stored, that lie before the state of a `PartFile`."""
    crc = state.get("crc")
    return int(state["end"] if crc is None else crc[0])


def stat_file(path: AnyPath) -> dict[str, Any]:
    """What changes when a file does: its size and time of change, or size and version of a remote one.

    Raises:
        ResourceError: the file is not there, or cannot be asked about.
    """
    local = find_local(path)
    if local is None:
        from tidemill.data.files.remote import stat_remote

        return stat_remote(cast(RemotePath, path))
    try:
        stat = os.stat(local)
    except OSError as error:
        raise _resource_error(local, error) from error
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def measure_file(path: AnyPath, state: State | None) -> tuple[int, int] | None:
    """Bytes of the file as it is stored that lie before `state`, and its size; None when it cannot be asked about."""
    try:
        size = stat_file(path)["size"]
    except ResourceError:
        return None
    if size is None:
        return None
    return (state["read"] if "read" in state else count_bytes(state)) if state else 0, size


def compare_file(path: AnyPath, state: State) -> Growth:
    """Whether the file, as far as `state` goes, is as it was: `same`, `grown` behind it, or `edited`.

    A local file of the same size and time of change is taken as unchanged; any other is read so far. A remote file
    is the `same` while its size and version are, else `edited`.
    """
    try:
        stamp = stat_file(path)
    except ResourceError:
        return "edited"
    if all(state.get(name) == value for name, value in stamp.items()):
        return "same"
    local = find_local(path)
    if local is None or "crc" not in state:
        return "edited"
    size_bytes, crc = state["crc"]
    if stamp["size"] < size_bytes or compute_crc(local, size_bytes) != crc:
        return "edited"
    return "same" if stamp["size"] == state["size"] else "grown"


def open_random(path: AnyPath) -> BinaryIO:
    """The bytes of a file as they are stored, seekable; each read of a local one goes to the system.

    Raises:
        ResourceError: it cannot be opened.
    """
    local = find_local(path)
    if local is None:
        from tidemill.data.files.remote import open_remote

        return open_remote(cast(RemotePath, path))
    try:
        return open(local, "rb", buffering=0)
    except OSError as error:
        raise _resource_error(local, error) from error


def compute_crc(path: Path, stop: int, *, start: int = 0, crc: int = 0) -> int:
    """The CRC-32 of a local file's bytes before `stop`, given that of those before `start`.

    Raises:
        ResourceError: the file cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return _extend_crc(file.fileno(), start, stop, crc)
    except OSError as error:
        raise _resource_error(path, error) from error


def _extend_crc(descriptor: int, start: int, stop: int, crc: int) -> int:
    while start < stop and (data := os.pread(descriptor, min(stop - start, _CHECKSUM_BLOCK_BYTES), start)):
        crc = isal_zlib.crc32(data, crc)
        start += len(data)
    return crc


def _resource_error(path: Path, error: OSError) -> ResourceError:
    return ResourceError(f"cannot be read: {error.strerror or error}", where=str(path))
