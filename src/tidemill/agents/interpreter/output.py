"""`Output`: what code writes, bounded, call by call."""

from __future__ import annotations

import asyncio
import codecs

_CONTINUED = 3  # bytes that a character of UTF-8 may have behind its first


class Output:
    """Takes what a process writes; gives the beginning and the end of what came for one call. Belongs to one loop.

    Args:
        max_bytes: that are given of a call.
        flood: bytes of one call from which on `is_flooded` is set.
    """

    def __init__(self, max_bytes: int, flood: int) -> None:
        self._half = max_bytes // 2
        self._flood = flood
        self._marker = b""
        self._pending = b""
        self.is_flooded = asyncio.Event()
        self._begin()

    def expect(self, marker: bytes) -> None:
        """Have the next `take` end at `marker`; what came since the last one is part of it."""
        self._marker = marker
        self.is_flooded.clear()
        self._at_marker.clear()

    def feed(self, data: bytes) -> None:
        """Take what was written."""
        self._pending += data
        if not self._marker:
            return self._keep_pending()
        before, found, after = self._pending.partition(self._marker)
        if not found:
            return self._keep_pending(len(self._marker) - 1)  # it may have begun
        self._pending = before
        self._keep_pending()
        self._pending, self._marker = after, b""
        self._at_marker.set()
        return None

    async def wait(self, timeout_s: float) -> None:
        """Return when the marker came, at most so much later."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._at_marker.wait()
        except TimeoutError:  # what wrote it has closed it: what came is all there is
            return

    def take(self) -> str:
        r"""What came up to the marker, or until now where there was none; bytes that are no UTF-8 as `\xff`."""
        rest, self._pending = self._pending, b""
        if not self._at_marker.is_set():
            self._pending, rest, self._marker = rest, b"", b""
            self._keep_pending()
        head, tail, total = bytes(self._head), bytes(self._tail), self._total
        self._begin()
        self.feed(rest)
        if total == len(head) + len(tail):
            return (head + tail).decode(errors="backslashreplace")
        head, tail = _trim_end(head), _trim_start(tail)
        left_out = total - len(head) - len(tail)
        told = f"\n[… {left_out} bytes left out; write to a file what must be whole …]\n"
        return head.decode(errors="backslashreplace") + told + tail.decode(errors="backslashreplace")

    def _begin(self) -> None:
        self._head, self._tail, self._total = bytearray(), bytearray(), 0
        self._at_marker = asyncio.Event()

    def _keep_pending(self, held: int = 0) -> None:
        """Keep what is pending but the last `held` bytes."""
        end = max(0, len(self._pending) - held)
        data, self._pending = self._pending[:end], self._pending[end:]
        self._total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[max(room, 0) :]
        del self._tail[: -self._half]
        if self._total > self._flood:
            self.is_flooded.set()


def _trim_start(tail: bytes) -> bytes:
    """The bytes without a character that is cut off at their start."""
    first = tail[:_CONTINUED]
    return first.lstrip(bytes(range(0x80, 0xC0))) + tail[_CONTINUED:]


def _trim_end(head: bytes) -> bytes:
    """The bytes without a character that is cut off at their end."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    decoder.decode(head)
    cut = len(decoder.getstate()[0])
    return head[: len(head) - cut]
