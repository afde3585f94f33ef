"""The HTTP/1.1 side of the fault server: one client connection, as an asyncio protocol.

Written on the raw protocol, since a server that answers 15,000 requests a second on one core must not parse more
than it needs.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from tidemill.testing.answers import Answer
from tidemill.testing.board import Board
from tidemill.testing.control import answer_control

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Slot:
    """The place of one answer in its connection's order: HTTP answers in the order it was asked."""

    __slots__ = ("answer", "is_call", "is_due", "next_at", "received_at", "timer")

    def __init__(self, answer: Answer, received_at: float, *, is_call: bool) -> None:
        self.answer = answer
        self.is_call = is_call
        self.received_at = received_at
        self.is_due = False
        self.next_at = 0.0
        self.timer: asyncio.TimerHandle | None = None


class Connection(asyncio.Protocol):
    """One client connection: parses requests, pipelined and chunked ones too, and keeps the order of answers."""

    def __init__(
        self,
        board: Board,
        loop: asyncio.AbstractEventLoop,
        on_made: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self._board = board
        self._loop = loop
        self._on_made = on_made
        self._on_lost = on_lost
        self._rest = bytearray()
        self._needed = 0
        self._slots: deque[Slot] = deque()
        self._paused: Slot | None = None
        self._is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self._board.counters.connections += 1
        self._on_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """What the client no longer waits for is no longer in flight; it stays billed."""
        self._on_lost(self)
        slots = list(self._slots)
        self._slots.clear()
        for slot in slots:
            if slot.timer is not None:
                slot.timer.cancel()
            if slot.is_call:
                self._board.leave(slot.answer, self._loop.time())
        self._board.notify()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It does again: what waited goes on."""
        self._is_full = False
        if self._paused is not None:
            slot, self._paused = self._paused, None
            self._pump(slot)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        start = 0
        while start < len(data):
            stop = self._take(data, start)
            if stop < 0:
                self._rest += data[start:]
                return
            start = stop

    def _take(self, data: bytes, start: int) -> int:
        """Handle the request at `start`; returns where the next one begins, -1 when this one is not whole yet."""
        self._needed = 0
        head_stop = data.find(b"\r\n\r\n", start)
        if head_stop < 0:
            return -1
        head = data[start:head_stop]
        lower = head.lower()
        stop = head_stop + 4
        at = lower.find(b"\r\ncontent-length:")
        if at >= 0:
            end = lower.find(b"\r\n", at + 17)
            body_start = stop
            stop += int(lower[at + 17 : end if end >= 0 else None])
            if len(data) < stop:
                self._needed = stop - start
                return -1
            body = data[body_start:stop]
        elif b"\r\ntransfer-encoding: chunked" in lower:
            joined = join_chunks(data, stop)
            if joined is None:
                return -1
            body, stop = joined
        else:
            body = b""
        self._handle(head, body, close=b"\r\nconnection: close" in lower)
        return stop

    def _handle(self, head: bytes, body: bytes, *, close: bool) -> None:
        method, path, _ = head[: head.find(b"\r\n")].split(b" ", 2)
        form = self._board.find_format(path) if method == b"POST" else None
        now = self._loop.time()
        if form is None:
            slot = Slot(Answer(None, close=close), now, is_call=False)
            self._slots.append(slot)
            answer_control(self._board, method.decode(), path.decode(), body, partial(self._tell, slot))
            return
        answer = self._board.receive(form, path, head, body, now)
        if close and not answer.close:
            answer = answer._replace(close=True)
        slot = Slot(answer, now, is_call=True)
        self._slots.append(slot)
        if answer.data is None:
            return
        if answer.delay_s > 0:
            slot.timer = self._loop.call_later(answer.delay_s, self._send, slot)
        else:
            self._send(slot)

    def _tell(self, slot: Slot, data: bytes) -> None:
        """Send what was asked of the server itself, if the one who asked is still there."""
        if slot in self._slots:
            slot.answer = slot.answer._replace(data=data)
            self._send(slot)

    def _send(self, slot: Slot) -> None:
        """Send the answer of `slot`, behind those asked for before it."""
        slot.is_due = True
        slots = self._slots
        while slots and slots[0].is_due:
            slot = slots[0]
            answer = slot.answer
            if answer.aborts:
                self.reset()
                return
            self.transport.write(cast(bytes, answer.data))
            if answer.pieces is not None:
                slot.is_due = False
                slot.next_at = self._loop.time()
                self._pump(slot)
                return
            if self._end(slot):
                return

    def _end(self, slot: Slot) -> bool:
        """Take the first slot, whose answer is sent whole, from the order; whether the connection ends with it."""
        self._slots.popleft()
        if slot.is_call:
            self._board.finish(slot.answer, slot.received_at, self._loop.time())
        if slot.answer.close:
            self.transport.close()
        return slot.answer.close

    def _pump(self, slot: Slot) -> None:
        """Send the pieces of the first slot's answer that are due, then those behind it, as the client takes them."""
        assert slot.answer.pieces is not None
        slot.timer = None
        for delay_s, piece in slot.answer.pieces:
            if delay_s:
                slot.next_at += delay_s
                if math.isinf(delay_s):
                    return
                slot.timer = self._loop.call_at(slot.next_at, self._push, slot, piece)
                return
            self.transport.write(piece)
            if self._is_full:
                self._paused = slot
                return
        if not self._end(slot) and self._slots and self._slots[0].is_due:
            self._send(self._slots[0])

    def _push(self, slot: Slot, piece: bytes) -> None:
        """Send a piece whose time has come, and go on."""
        self.transport.write(piece)
        if self._is_full:
            self._paused = slot
        else:
            self._pump(slot)

    def reset(self) -> None:
        """End the connection with a reset instead of an orderly close."""
        opened = self.transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


def join_chunks(data: bytes, start: int) -> tuple[bytes, int] | None:
    """The chunked body at `start` and where it stops; None when it is not whole yet."""
    parts: list[bytes] = []
    while True:
        line_stop = data.find(b"\r\n", start)
        if line_stop < 0:
            return None
        size = int(data[start:line_stop].partition(b";")[0], 16)
        start = line_stop + 2
        if size == 0:
            trailer_stop = start if data.startswith(b"\r\n", start) else data.find(b"\r\n\r\n", start) + 2
            if trailer_stop < start or len(data) < trailer_stop + 2:
                return None
            return b"".join(parts), trailer_stop + 2
        if len(data) < start + size + 2:
            return None
        parts.append(data[start : start + size])
        start += size + 2
