"""The bytes of a source file, plain or gzip, read in blocks and known well enough to go on from later."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from isal import igzip_lib, isal_zlib

from tidemill.errors import ResourceError, StateError
from tidemill.protocols import Growth, State

BLOCK_BYTES = 64 * 1024
"""Read, and decompressed, at a time; measured: records parsed from larger blocks leave the second-level cache."""

_CHECKSUM_BLOCK_BYTES = 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW_BITS = 31  # zlib's number for a 32 KiB window inside a gzip header and trailer (RFC 1952)


class PartFile:
    """A file's bytes as they lie on disk, and a checksum (CRC-32) of the first so many of them.

    Reading a file nobody asks the state of costs no checksum: `state()` reads what came since the last one once more,
    out of the system's cache.

    Closed when it is dropped. Usable from any thread, one at a time.

    Attributes:
        position: where the next block is read.
        frontier: the furthest byte read, now or up to the state that was gone on from.

    Raises:
        ResourceError: the file cannot be opened or read.
    """

    def __init__(self, path: Path, state: State | None = None) -> None:
        self.path = path
        self.position = 0
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by `close`, at the latest on drop
        except OSError as error:
            raise _resource_error(path, error) from error
        stat = os.fstat(self._file.fileno())
        self._stamp = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        self.frontier = 0
        self._sums = [(0, 0)]  # sizes with their checksums, the last ones asked for first
        if state is not None:
            size_bytes, crc = state["crc"]
            self.frontier = size_bytes
            self._sums.insert(0, (size_bytes, crc))

    def __del__(self) -> None:
        self.close()

    def read(self) -> bytes:
        """The next block, empty at the end."""
        try:
            data = self._file.read(BLOCK_BYTES)
        except OSError as error:
            raise _resource_error(self.path, error) from error
        self.position += len(data)
        self.frontier = max(self.frontier, self.position)
        return data

    def seek(self, position: int) -> None:
        """Go on reading at `position`, at or before the frontier."""
        self._file.seek(position)
        self.position = position

    def state(self, size_bytes: int) -> State:
        """The checksum of so many bytes, and the file's size and time of change when it was opened."""
        known, crc = next(sum_ for sum_ in self._sums if sum_[0] <= size_bytes)
        if known < size_bytes:
            crc = self._extend_crc(crc, known, size_bytes)
            if size_bytes > self._sums[0][0]:  # a reader may be asked where it stood one record back, too
                self._sums = [(size_bytes, crc), self._sums[0], (0, 0)]
        return {"crc": [size_bytes, crc], **self._stamp}

    def close(self) -> None:
        """Close the file; it may be closed already."""
        file = getattr(self, "_file", None)  # missing when opening failed
        if file is not None:
            file.close()

    def _extend_crc(self, crc: int, start: int, stop: int) -> int:
        if self._file.closed:
            return compute_crc(self.path, stop, start=start, crc=crc)
        try:
            return _extend_crc(self._file.fileno(), start, stop, crc)
        except OSError as error:
            raise _resource_error(self.path, error) from error


class TextFile(Protocol):
    """Decompressed bytes in blocks."""

    failure: str
    """Why the text ends before the file says it does; empty while nothing is wrong."""

    def read(self) -> bytes:
        """The next block, empty at the end."""
        ...

    def skip(self, offset: int) -> None:
        """From the start of the text, go to `offset`."""
        ...

    def state(self, offset: int) -> State:
        """The file's state for a reader that stands at `offset` of the text, at or before what was read of it."""
        ...


class PlainText:
    """A file that is its own text; its state covers it just up to the offset."""

    failure = ""

    def __init__(self, file: PartFile) -> None:
        self.read = file.read
        self.skip = file.seek
        self.state = file.state


class GzipText:
    """The text of a gzip file of one or more members; its state covers the file up to the furthest byte read.

    A file that is cut or corrupt gives all the text in front of that point, then ends with `failure` set.
    Decompressed by ISA-L, at 2.6 times the speed of zlib (measured: docs/lab-notes.md).
    """

    def __init__(self, file: PartFile) -> None:
        self.failure = ""
        self._file = file
        self._decoder = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._in_member = False
        self._member_start = 0
        self._member_text_bytes = 0
        self._compressed = b""
        self._ahead = b""
        self._text_bytes = 0

    def read(self) -> bytes:
        """The next block, empty at the end."""
        text, self._ahead = self._ahead, b""
        if not text:
            text = self._read_on()
            self._text_bytes += len(text)
        return text

    def state(self, offset: int) -> State:
        """The file's state; `read` is the share of its bytes that the text up to `offset` is made of, about."""
        taken = self._file.position - len(self._compressed)
        read = round(taken * offset / self._text_bytes) if self._text_bytes else 0
        return {**self._file.state(self._file.frontier), "read": read}

    def _read_on(self) -> bytes:
        text = b""
        while not text and not self.failure:
            if not self._compressed:
                self._compressed = self._file.read()
                if not self._compressed:
                    return self._read_last()
            text = self._decode()
        return text

    def skip(self, offset: int) -> None:
        """Decompress up to `offset`.

        Raises:
            StateError: the text is shorter.
        """
        position = 0
        while position < offset:
            text = self.read()
            if not text:
                raise StateError(
                    f"the state stands at byte {offset} of the text, which ends at {position}",
                    where=str(self._file.path),
                    hint="start without a state, or put the file back as it was",
                )
            position += len(text)
            self._ahead = text[len(text) - (position - offset) :] if position > offset else b""

    def _decode(self) -> bytes:
        if not self._in_member:
            self._compressed = self._compressed.lstrip(b"\0")  # padding between members is allowed
            if not self._compressed:
                return b""
            if self._compressed[:2] != _GZIP_MAGIC[: len(self._compressed)]:  # ISA-L would wait for a whole header
                self.failure = "the gzip stream is corrupt (incorrect header check)"
                return b""
            self._decoder = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)
            self._in_member = True
            self._member_start = self._file.position - len(self._compressed)
            self._member_text_bytes = 0
        try:
            text = self._decoder.decompress(self._compressed, BLOCK_BYTES)
        except igzip_lib.IsalError:  # type: ignore[misc] # its stubs call the class an instance
            text, cause = _decode_until_error(self._file.path, self._member_start, self._member_text_bytes)
            self.failure = f"the gzip stream is corrupt ({cause})"
            return text
        self._member_text_bytes += len(text)
        if self._decoder.eof:
            self._in_member = False
            self._compressed = self._decoder.unused_data
        else:
            self._compressed = self._decoder.unconsumed_tail
        return text

    def _read_last(self) -> bytes:
        if not self._in_member:
            return b""
        text = self._decoder.decompress(b"", BLOCK_BYTES)
        if not text:
            self.failure = "the gzip stream ends early: the file is cut"
        return text


def open_text(path: Path, file: PartFile) -> TextFile:
    """The text of `file`: decompressed when `path` ends in `.gz`."""
    return GzipText(file) if path.suffix == ".gz" else PlainText(file)


def compare_file(path: Path, state: State) -> Growth:
    """Whether the file, as far as the checksum in `state` goes, is as it was: `same`, `grown` behind it, or `edited`.

    A file of the same size and time of change is taken as unchanged; any other is read so far.
    """
    try:
        stat = os.stat(path)
    except OSError:
        return "edited"
    if stat.st_size == state["size"] and stat.st_mtime_ns == state["mtime_ns"]:
        return "same"
    size_bytes, crc = state["crc"]
    if stat.st_size < size_bytes or compute_crc(path, size_bytes) != crc:
        return "edited"
    return "same" if stat.st_size == state["size"] else "grown"


def compute_crc(path: Path, stop: int, *, start: int = 0, crc: int = 0) -> int:
    """The CRC-32 of a file's bytes before `stop`, given that of those before `start`.

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


def _decode_until_error(path: Path, start: int, given: int) -> tuple[bytes, str]:
    """The text of the member at `start` from its byte `given` up to the error in it, and what the error is.

    ISA-L drops what a failing call had decoded; zlib does too, but can be put back to where it was, and then be fed
    byte by byte.
    """
    decoder = zlib.decompressobj(_GZIP_WINDOW_BITS)
    texts: list[bytes] = []

    def take(text: bytes) -> None:
        nonlocal given
        texts.append(text[given:])
        given = max(0, given - len(text))

    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            while block := file.read(BLOCK_BYTES):
                untouched = decoder.copy()
                try:
                    take(decoder.decompress(block))
                except zlib.error:
                    for index in range(len(block)):
                        take(untouched.decompress(block[index : index + 1]))
    except zlib.error as error:
        return b"".join(texts), str(error).rpartition(": ")[2]
    except OSError as error:
        raise _resource_error(path, error) from error
    return b"".join(texts), "ISA-L cannot read it"


def _resource_error(path: Path, error: OSError) -> ResourceError:
    return ResourceError(f"cannot be read: {error.strerror or error}", where=str(path))


def open_random(path: Path) -> BinaryIO:
    """The bytes of a file as they lie on disk, seekable.

    Raises:
        ResourceError: the file cannot be opened.
    """
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise _resource_error(path, error) from error


def stat_file(path: Path) -> State:
    """Size and time of change of a file: JSON, equal while the file was not touched; `size` is in bytes.

    Raises:
        ResourceError: there is no such file.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise _resource_error(path, error) from error
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
