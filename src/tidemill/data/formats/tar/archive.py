"""The bytes of a tar archive, in order: as it is unpacked, or in a file that can be gone through by leaps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

from isal.isal_zlib import adler32

from tidemill.data.files import TextFile
from tidemill.data.formats.tar.headers import BLOCK, REGULAR, find_adler

RATIO_FROM_BYTES = 1024 * 1024 * 1024
"""An archive that has unpacked to more may be a bomb, of zeros say."""

_ENDS_NUMBER = b"\0 "


class TarEnd(Exception):  # noqa: N818 - where an archive ends; its reader makes an error of it
    """What lies behind cannot be read.

    Attributes:
        offset: where the record begins that could not be read whole, else the header.
        key: of that record.
        hint: the next step, empty when there is none.
        is_behind: whether it lies behind an end mark, in front of which all is whole.
    """

    is_behind = False

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.hint = hint
        self.key = b""


class Archive(Protocol):
    """The bytes of an archive, in order.

    Attributes:
        position: where the next byte stands.
    """

    position: int

    def take(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        ...

    def skip(self, size: int) -> int:
        """Go past the next bytes, and return how many there were."""
        ...

    def iter_simple(self) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        """The next members, as `start, end, key, suffix, body`, as far as they can be had without a closer look."""
        ...


class TextArchive:
    """An archive as it is read, unpacked, in blocks.

    Args:
        text: what stands at `position`.
        max_ratio: how many times its size the archive may unpack to, behind `RATIO_FROM_BYTES`.
    """

    def __init__(self, text: TextFile, position: int, max_ratio: int) -> None:
        self.position = position
        self._max_ratio = max_ratio
        self._text = text
        self._block = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        start, stop = self._at, self._at + size
        if stop <= len(self._block):
            self._at = stop
            self.position += size
            return self._block[start:stop]
        pieces = [self._block[start:]]
        lacking = size - len(pieces[0])
        self._at = len(self._block)
        while lacking and self._read():
            self._at = min(lacking, len(self._block))
            pieces.append(self._block[: self._at])
            lacking -= self._at
        self.position += size - lacking
        return b"".join(pieces)

    def skip(self, size: int) -> int:
        left = size
        while left and (self._at < len(self._block) or self._read()):
            step = min(left, len(self._block) - self._at)
            self._at += step
            self.position += step
            left -= step
        return size - left

    def iter_simple(self) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        """The next members, as `start, end, key, suffix, body`, while they are whole in the block and nothing unusual.

        In one loop, at a third of what `read_member` takes, which reads what this leaves.
        """
        block = self._block
        while (at := self._at) + BLOCK <= len(block):
            header = block[at : at + BLOCK]
            nul = header.find(b"\0")
            name = header[:nul]
            base = name.rfind(b"/") + 1
            dot = name.find(b".", base)
            try:
                size, expected = int(header[124:135], 8), find_adler(header[148:156])
            except ValueError:
                return
            after = at + BLOCK + size + (-size & (BLOCK - 1))
            if (
                adler32(header) & 0xFFFF != expected
                or header[156] not in REGULAR
                or header[135] not in _ENDS_NUMBER
                or header[345]  # a prefix
                or not base < dot < nul - 1 < 100
                or name[0] in b"./"
                or b".." in name
                or not at < after <= len(block)
            ):
                return
            start, self._at = self.position, after
            self.position = start + after - at
            yield start, self.position, name[:dot], name[dot + 1 :], block[at + BLOCK : at + BLOCK + size]

    def _read(self) -> bool:
        self._block, self._at = self._text.read(), 0
        if self.position > RATIO_FROM_BYTES and self._text.ratio() > self._max_ratio:
            hint = "raise max_unpacked_ratio if such archives are meant"
            raise TarEnd(f"it unpacks to more than {self._max_ratio:,} times its size", self.position, hint)
        return bool(self._block)


class FileArchive:
    """An archive in a file that can be gone through by leaps.

    Args:
        size: of the file.
        start: where in an archive it begins.
    """

    def __init__(self, file: BinaryIO, size: int, start: int = 0) -> None:
        self.position = start
        self._file = file
        self._start = start
        self._end = start + size

    def take(self, size: int) -> bytes:
        data = self._file.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        stop = min(self.position + size, self._end)
        skipped = stop - self.position
        self._file.seek(stop - self._start)
        self.position = stop
        return skipped

    def iter_simple(self) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        return iter(())
