"""One HTTP/1.1 connection: a request out, its response in, parsed by llhttp as `httptools` has it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tidemill.calls.http.encoding import Gunzip, find_gunzip
from tidemill.calls.http.heads import Heads
from tidemill.calls.wire import OnChunk, Response

MAX_HEAD_BYTES: Final = 256 * 1024
"""What a response may send before its headers end; llhttp itself has no bound. The same as curl's."""

STALL_S: Final = 120.0
"""The longest silence between two pieces of a body that is handed on: the far side is gone, and no packet says so. No
shorter than an attempt is by default, since a model may think between two pieces; a longer one need not wait it out."""

PARSER_ERRORS: Final = (HttpParserError, HttpParserUpgrade)
"""What httptools raises, all of it."""

_EARLY_S: Final = 0.001  # loops' timers are as exact as this


class Bound(NamedTuple):
    """The longest body that is taken, after decompression; of a longer one the first bytes, where it `cuts`."""

    max_bytes: int
    cuts: bool = False


class CutError(Exception):
    """The connection ended, or what came over it is no HTTP, before the response was whole."""


class OversizeError(Exception):
    """The response is longer than is taken; `status` is its status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class HandOnError(Exception):
    """What took the pieces of the body raised `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Connection(asyncio.Protocol):
    """A connection to one origin; one request at a time.

    Belongs to one event loop.

    Args:
        on_idle: called when a response is whole and the connection can take another request.
        on_lost: called once when it is closed.
        bound: the longest body taken.
        heads: those that connections to the same origin have parsed.
        tunnels: its one request is a CONNECT, whose response ends with its headers.
    """

    __slots__ = (
        "_body_bytes",
        "_bound",
        "_chunks",
        "_ends_at",
        "_gunzip",
        "_has_body",
        "_has_head",
        "_head_bytes",
        "_headers",
        "_heads",
        "_heard_at",
        "_is_between",
        "_looks_at",
        "_loop",
        "_on_chunk",
        "_on_idle",
        "_on_lost",
        "_parser",
        "_timer",
        "_tunnels",
        "_waiter",
        "_whole",
        "transport",
    )

    def __init__(
        self,
        on_idle: Callable[[Connection], object],
        on_lost: Callable[[Connection], object],
        *,
        bound: Bound,
        heads: Heads | None = None,
        tunnels: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._bound = bound
        self._heads = Heads() if heads is None else heads
        self._tunnels = tunnels
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._waiter: asyncio.Future[Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gunzip: Gunzip | None
        self._whole: bytes
        self._is_between: bool
        self._on_chunk: OnChunk | None = None
        self._has_body = True
        self._heard_at: float | None = None
        self._ends_at = self._looks_at = 0.0
        self.transport: asyncio.Transport
        self._begin()

    def ask(
        self, data: bytes, timeout_s: float, on_chunk: OnChunk | None = None, *, has_body: bool = True
    ) -> asyncio.Future[Response]:
        """The response to the request in `data`; its future ends with a TimeoutError after `timeout_s`.

        The future raises CutError, OversizeError, TimeoutError or HandOnError; the connection is closed then. Whoever
        stops waiting for it calls `drop`.

        Args:
            on_chunk: gets the pieces of a successful response's body, out of its encoding, as they come.
            has_body: whether the response may have one; that to a HEAD has none, whatever its head says.
        """
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiter = waiter
        self._on_chunk = on_chunk
        self._has_body = has_body
        self._heard_at = None
        self._ends_at = self._loop.time() + timeout_s
        if self._timer is None or self._looks_at > self._ends_at:
            self._look_at(self._ends_at)
        self.transport.write(data)
        return waiter

    def drop(self, waiter: asyncio.Future[Response]) -> None:
        """Close the connection, unless what `waiter` waited for is over: it may serve somebody else by now."""
        if self._waiter is waiter:
            self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self._on_chunk = None
        self.transport.abort()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's own class does not derive from Transport

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._parser is None:  # said unasked, or behind the response it had to give
            self.close()
            return
        if self._is_between and self._on_chunk is None and (known := self._heads.find(data)) is not None:
            self._give(known, keeps_alive=True)
            return
        self._whole = data if self._is_between else b""
        self._is_between = False
        try:
            self._parser.feed_data(data)
        except PARSER_ERRORS as exc:
            self._fail(CutError(f"what it answered is no HTTP ({exc})"))
            return
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(CutError(f"its headers are longer than {MAX_HEAD_BYTES} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is not None:
            if exc is None and self._has_head and self._ends_with_connection():
                self.on_message_complete()
            else:
                reason = str(exc) if exc is not None else "closed before the response was whole"
                self._fail(CutError(reason))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._parser = None  # which holds this connection's methods: no cycle is left for the collector
        self._on_lost(self)

    # llhttp calls these

    def on_message_begin(self) -> None:
        if self._waiter is None:  # an answer that nobody asked for, right behind the one that was
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers = self._headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        self._has_head = True
        headers = self._headers
        length = headers.get("content-length")
        if not self._has_body and self._status >= 200:
            self._settle(Response(self._status, headers, b""))
            self.close()  # llhttp, which httptools tells nothing of the request, waits for a body
        elif length is not None and int(length) > self._bound.max_bytes and not self._bound.cuts:
            self._fail(OversizeError(self._status))
        elif self._tunnels and 200 <= self._status < 300:
            self._settle(Response(self._status, headers, b""))
        elif "content-encoding" in headers:
            try:
                self._gunzip = find_gunzip(headers["content-encoding"], self._bound.max_bytes)
            except zlib.error as exc:
                self._fail(_no_gzip(exc))

    def on_body(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        is_counted = self._gunzip is None or not self._bound.cuts  # to cut it, it is taken out of its encoding first
        if self._body_bytes > self._bound.max_bytes and is_counted:
            self._overflow(chunk)
        elif self._gunzip is None and self._on_chunk is None:
            self._chunks.append(chunk)
        else:
            self._take(chunk)

    def on_message_complete(self) -> None:
        if self._waiter is None or self._parser is None:
            return
        status, headers, chunks, gunzip = self._status, self._headers, self._chunks, self._gunzip
        whole = self._whole
        is_packed = gunzip is not None and self._body_bytes > 0
        self._begin()
        if status < 200:  # 100 Continue, 103 Early Hints: the response itself follows
            return
        if gunzip is not None and is_packed and not gunzip.is_whole:
            self._fail(_no_gzip("it is not whole"))
            return
        keeps_alive = self._parser.should_keep_alive()
        if keeps_alive and whole and gunzip is None and not self._tunnels:
            self._heads.note(whole, status, headers)
        self._give(Response(status, headers, b"".join(chunks)), keeps_alive=keeps_alive)

    def _give(self, response: Response, *, keeps_alive: bool) -> None:
        """Hand on the whole response, and be there for the next request if the far side has taken all of this one."""
        is_reusable = keeps_alive and not self.transport.get_write_buffer_size()
        self._settle(response)
        if is_reusable:
            self._on_idle(self)
        else:
            self.close()

    @property
    def _status(self) -> int:
        return 0 if self._parser is None else self._parser.get_status_code()

    def _begin(self) -> None:
        """Nothing of the next response is there yet."""
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._gunzip = None
        self._body_bytes = 0
        self._head_bytes = 0
        self._has_head = False
        self._whole = b""
        self._is_between = True

    def _ends_with_connection(self) -> bool:
        """Whether the body says neither its length nor its chunks (RFC 9112, 6.3)."""
        return "content-length" not in self._headers and "chunked" not in self._headers.get("transfer-encoding", "")

    def _take(self, chunk: bytes) -> None:
        """Take a piece of the body out of its encoding, and hand it on where it was asked for so."""
        if self._gunzip is not None:
            try:
                chunk = self._gunzip.feed(chunk)
            except zlib.error as exc:
                self._fail(_no_gzip(exc))
                return
            if self._gunzip.size_bytes > self._bound.max_bytes:
                self._overflow(chunk)
                return
        if not chunk:
            return
        self._chunks.append(chunk)
        if self._on_chunk is not None and 200 <= self._status < 300:
            is_first, self._heard_at = self._heard_at is None, self._loop.time()
            if is_first and self._looks_at > self._heard_at + STALL_S:
                self._look_at(self._heard_at + STALL_S)
            try:
                self._on_chunk(chunk)
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it is the waiter's, and no parser error
                self._fail(HandOnError(exc))

    def _overflow(self, chunk: bytes) -> None:
        """The body is longer than is taken; `chunk` goes beyond that."""
        if not self._bound.cuts:
            self._fail(OversizeError(self._status))
            return
        body = b"".join([*self._chunks, chunk])[: self._bound.max_bytes]
        self._settle(Response(self._status, self._headers, body, is_cut=True))
        self.close()

    def _look_at(self, when: float) -> None:
        """Look at the time at `when`. A response in time leaves this for the next one, so few need a timer set."""
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """End what has taken too long, or look again when it would have."""
        self._timer = None
        if self._waiter is None:
            return
        late_at, error = self._ends_at, TimeoutError()
        if self._heard_at is not None and self._heard_at + STALL_S < late_at:
            late_at = self._heard_at + STALL_S
            error = TimeoutError(f"nothing came for {STALL_S:g} s in the middle of its answer")
        if late_at - self._loop.time() > _EARLY_S:
            self._look_at(late_at)
        else:
            self._fail(error)

    def _settle(self, response: Response) -> None:
        waiter = self._end()
        if waiter is not None:
            waiter.set_result(response)

    def _fail(self, error: Exception) -> None:
        """End the waiting with `error`, and the connection."""
        waiter = self._end()
        if waiter is not None:
            waiter.set_exception(error)
        self.close()

    def _end(self) -> asyncio.Future[Response] | None:
        """End what was asked; its future, if somebody still waits for it."""
        waiter, self._waiter = self._waiter, None
        self._on_chunk = None
        return None if waiter is None or waiter.done() else waiter


def _no_gzip(reason: object) -> CutError:
    return CutError(f"its body is no gzip ({reason})")
