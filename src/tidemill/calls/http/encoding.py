"""A body out of its content encoding, piece by piece."""

from __future__ import annotations

import zlib
from typing import Final

_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's way to say: a gzip header and trailer around it


class Gunzip:
    """A body out of gzip: one member or several (RFC 1952, 2.2), in pieces cut anywhere.

    Args:
        max_bytes: what is taken of it; one byte more is given at most, which tells that there is more.

    Attributes:
        size_bytes: what has been given so far.

    Raises (`feed`): zlib.error, where it is no gzip.
    """

    __slots__ = ("_max_bytes", "_member", "size_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._member = zlib.decompressobj(_GZIP)
        self.size_bytes = 0

    @property
    def is_whole(self) -> bool:
        """Whether its last member has ended."""
        return self._member.eof

    def feed(self, piece: bytes) -> bytes:
        """What `piece` adds to the body; may be nothing yet."""
        found = []
        while piece and self.size_bytes <= self._max_bytes:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            unpacked = self._member.decompress(piece, self._max_bytes + 1 - self.size_bytes)
            self.size_bytes += len(unpacked)
            found.append(unpacked)
            piece = self._member.unused_data
        return b"".join(found)


def find_gunzip(encoding: str, max_bytes: int) -> Gunzip | None:
    """What undoes a `content-encoding`, None where there is nothing to undo.

    Raises:
        zlib.error: it is one that nobody asked for.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Gunzip(max_bytes)
        case other:
            raise zlib.error(f"encoded as {other[:20]}, unasked")
