"""One HTTP/1.1 connection: a request out, its response in, parsed by llhttp as `httptools` has it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tidemill.calls.wire import Response

MAX_HEAD_BYTES: Final = 256 * 1024
"""What a response may send before its headers end; llhttp itself has no bound. The same as curl's."""

_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's way to say: a gzip header and trailer around it


class CutError(Exception):
    """The connection ended, or what came over it is no HTTP, before the response was whole."""


class OversizeError(Exception):
    """The response is longer than is taken; `status` is its status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(asyncio.Protocol):
    """A connection to one origin; one request at a time.

    Belongs to one event loop.

    Args:
        on_idle: called when a response is whole and the connection can take another request.
        on_lost: called once when it is closed.
        max_body_bytes: the longest body taken, after decompression.
        tunnels: its one request is a CONNECT, whose response ends with its headers.
    """

    __slots__ = (
        "_body_bytes",
        "_chunks",
        "_has_head",
        "_head_bytes",
        "_headers",
        "_loop",
        "_max_body_bytes",
        "_on_idle",
        "_on_lost",
        "_parser",
        "_timer",
        "_tunnels",
        "_waiter",
        "transport",
    )

    def __init__(
        self,
        on_idle: Callable[[Connection], object],
        on_lost: Callable[[Connection], object],
        *,
        max_body_bytes: int,
        tunnels: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._max_body_bytes = max_body_bytes
        self._tunnels = tunnels
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._waiter: asyncio.Future[Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport
        self._begin()

    def ask(self, data: bytes, timeout_s: float) -> asyncio.Future[Response]:
        """The response to the request in `data`; its future ends with a TimeoutError after `timeout_s`.

        The future raises CutError, OversizeError or TimeoutError; the connection is closed then. Whoever stops
        waiting for it calls `drop`.
        """
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiter = waiter
        self._timer = self._loop.call_later(timeout_s, self._fail, TimeoutError())
        self.transport.write(data)
        return waiter

    def drop(self, waiter: asyncio.Future[Response]) -> None:
        """Close the connection, unless what `waiter` waited for is over: it may serve somebody else by now."""
        if self._waiter is waiter:
            self.close()

    def close(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's own class does not derive from Transport

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._parser is None:  # said unasked, or behind the response it had to give
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
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
        length = self._headers.get("content-length")
        if length is not None and int(length) > self._max_body_bytes:
            self._fail(OversizeError(self._status))
        elif self._tunnels and 200 <= self._status < 300:
            self._settle(Response(self._status, self._headers, b""))

    def on_body(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        if self._body_bytes > self._max_body_bytes:
            self._fail(OversizeError(self._status))
        else:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._waiter is None or self._parser is None:
            return
        status, headers, chunks = self._status, self._headers, self._chunks
        self._begin()
        if status < 200:  # 100 Continue, 103 Early Hints: the response itself follows
            return
        try:
            body = self._unpack(b"".join(chunks), headers.get("content-encoding", ""))
        except zlib.error as exc:
            self._fail(CutError(f"its body is no gzip ({exc})"))
            return
        if len(body) > self._max_body_bytes:
            self._fail(OversizeError(status))
            return
        is_reusable = self._parser.should_keep_alive() and not self.transport.get_write_buffer_size()
        self._settle(Response(status, headers, body))
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
        self._body_bytes = 0
        self._head_bytes = 0
        self._has_head = False

    def _ends_with_connection(self) -> bool:
        """Whether the body says neither its length nor its chunks (RFC 9112, 6.3)."""
        return "content-length" not in self._headers and "chunked" not in self._headers.get("transfer-encoding", "")

    def _unpack(self, body: bytes, encoding: str) -> bytes:
        """The body without its content encoding; no more than one byte too many of it."""
        match encoding.strip().lower():
            case "" | "identity":
                return body
            case "gzip" | "x-gzip":
                unpacker = zlib.decompressobj(_GZIP)
                unpacked = unpacker.decompress(body, self._max_body_bytes + 1)
                if not unpacker.eof and len(unpacked) <= self._max_body_bytes:
                    raise zlib.error("it is not whole")
                return unpacked
            case other:
                raise zlib.error(f"encoded as {other[:20]}, unasked")

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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return None if waiter is None or waiter.done() else waiter
