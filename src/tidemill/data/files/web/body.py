"""The bytes of one response."""

from __future__ import annotations

import http.client
import zlib
from typing import Any

_SKIP_BYTES = 256 * 1024
_GZIP_WINDOW_BITS = 31


class Body:
    """The bytes of one response, as they stand in the file."""

    def __init__(self, response: http.client.HTTPResponse, first: int, encoding: str) -> None:
        self.position = first
        self.is_used_up = False
        self._response = response
        self._left = response.length
        self._is_within = False
        self._decoder: Any = zlib.decompressobj(_GZIP_WINDOW_BITS) if encoding else None

    def readinto(self, view: memoryview) -> int:
        """Some bytes; none at the end of the response.

        Raises:
            http.client.IncompleteRead: the connection ended before that.
        """
        if self._decoder is not None:
            data = self._unpack(len(view))
            view[: len(data)] = data
            count = len(data)
        else:
            count = self._response.readinto(view)
            self._take(count)
        self.position += count
        self.is_used_up = not count or self._left == 0
        return count

    def skip(self, position: int) -> None:
        """Pass over the bytes in front of `position`."""
        held = memoryview(bytearray(_SKIP_BYTES))
        while self.position < position:
            if not self.readinto(held[: min(_SKIP_BYTES, position - self.position)]):
                return

    def close(self) -> None:
        self._response.close()

    def _unpack(self, most: int) -> bytes:
        """Some of what a server has packed with gzip on the way, of one or more members (RFC 1952)."""
        while True:
            if self._decoder.eof:
                packed = self._decoder.unused_data
                self._is_within = False
                self._decoder = zlib.decompressobj(_GZIP_WINDOW_BITS)
            else:
                packed = self._decoder.unconsumed_tail
            if not packed:
                packed = self._response.read(_SKIP_BYTES)
                self._take(len(packed))
                if not packed and self._is_within:
                    raise http.client.IncompleteRead(b"")
            if not packed:
                return b""
            self._is_within = True
            if text := self._decoder.decompress(packed, most):
                return bytes(text)

    def _take(self, count: int) -> None:
        if self._left is None:
            return
        if not count and self._left:
            raise http.client.IncompleteRead(b"", self._left)
        self._left -= count
