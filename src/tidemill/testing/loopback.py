"""The HTTP/1.1 side of the fault server: one client connection, as an asyncio protocol.

Written on the raw protocol, since a server that answers 15,000 requests a second on one core must not parse more
than it needs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from tidemill.errors import ConfigError
from tidemill.testing.board import COUNTS, Answer, Board, render_error, render_response
from tidemill.testing.plan import Faults


class Slot:
    """The place of one reply in its connection's order: HTTP answers in the order it was asked."""

    __slots__ = ("close", "data", "in_flight", "timer")

    def __init__(self, in_flight: int, close: bool) -> None:
        self.in_flight = in_flight
        self.close = close
        self.data: bytes | None = None
        self.timer: asyncio.TimerHandle | None = None


class Connection(asyncio.Protocol):
    """One client connection: parses requests, pipelined and chunked ones too, and keeps the order of replies."""

    def __init__(self, board: Board, loop: asyncio.AbstractEventLoop, connections: set[Connection]) -> None:
        self._board = board
        self._loop = loop
        self._connections = connections
        self._rest = bytearray()
        self._needed = 0
        self._slots: deque[Slot] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self._board.counters.connections += 1
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """What the client no longer waits for is no longer in flight; it stays billed."""
        self._connections.discard(self)
        for slot in self._slots:
            if slot.timer is not None:
                slot.timer.cancel()
            self._board.counters.in_flight -= slot.in_flight
        self._slots.clear()
        self._board.notify()

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
        if method != b"POST" or not path.endswith(b"/chat/completions"):
            self._control(method.decode(), path.decode(), body, close)
            return
        answer = self._board.receive(path, head, body)
        slot = Slot(1, close or answer.close)
        self._slots.append(slot)
        if answer.data is None:
            return
        act = (
            partial(self._send, slot, answer.data) if answer.trickle_s is None else partial(self._trickle, slot, answer)
        )
        if answer.delay_s > 0:
            slot.timer = self._loop.call_later(answer.delay_s, act)
        else:
            act()

    def _send(self, slot: Slot, data: bytes) -> None:
        """Send the whole reply of `slot`, behind those asked for before it."""
        slot.data = data
        slots = self._slots
        while slots and slots[0].data is not None:
            done = slots.popleft()
            self._board.counters.in_flight -= done.in_flight
            self.transport.write(cast(bytes, done.data))
            if done.close:
                self.transport.close()
                break
        if self._board.waiting:
            self._board.notify()

    def _trickle(self, slot: Slot, answer: Answer) -> None:
        """Send the head, then a byte at a time for as long as the client stays."""
        if self._slots[0] is slot:
            self.transport.write(answer.data or b"")
            answer = answer._replace(data=b" ")
        slot.timer = self._loop.call_later(answer.trickle_s or 0, self._trickle, slot, answer)

    def _control(self, method: str, target: str, body: bytes, close: bool) -> None:
        """Answer what another process or thread asks of the server itself."""
        slot = Slot(0, close)
        self._slots.append(slot)
        address = urlsplit(target)
        query = dict(parse_qsl(address.query))
        board = self._board
        match method, address.path:
            case "GET", "/stats":
                data = board.counters.to_json(bodies="bodies" in query, log="log" in query)
                self._send(slot, render_response(200, data))
            case "GET", "/wait" if address.query == "idle":
                board.wait(lambda counters: counters.in_flight == 0, partial(self._send_if_open, slot))
            case "GET", "/wait" if query and all(name in COUNTS and query[name].isdigit() for name in query):
                floors = [(name, int(count)) for name, count in query.items()]
                board.wait(
                    lambda counters: all(getattr(counters, name) >= floor for name, floor in floors),
                    partial(self._send_if_open, slot),
                )
            case "POST", "/reset":
                board.reset()
                self._send(slot, render_response(200, b"{}"))
            case "POST", "/faults":
                self._send(slot, self._replan(body))
            case _:
                board.counters.strays += 1
                self._send(slot, render_error(404, f"nothing is served at {method} {address.path}"))

    def _send_if_open(self, slot: Slot, data: bytes) -> None:
        if slot in self._slots:
            self._send(slot, data)

    def _replan(self, body: bytes) -> bytes:
        try:
            self._board.faults = Faults.from_json(body)
        except (ConfigError, ValueError, TypeError, AttributeError) as exc:
            return render_error(400, f"not a plan of faults: {exc}")
        return render_response(200, b"{}")


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
