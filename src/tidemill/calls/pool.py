"""The connections to one origin, kept for the next request."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Final

from tidemill.calls.address import Origin, Proxy
from tidemill.calls.connection import Connection
from tidemill.calls.dialer import Dialer

KEEP_ALIVE_S: Final = 4.0
"""Idle connections are closed before the far side does it under a request: uvicorn, which serves vLLM, waits 5 s."""


class Pool:
    """Connections to one origin by one way. No bound on their number. Belongs to one event loop.

    The connection used last is used next, so that those nobody needs any more grow old and are closed.

    Args:
        origin, proxy: where they lead, and who takes them there.
        dialer: opens them.
        max_body_bytes: the longest response they take.
    """

    def __init__(self, origin: Origin, proxy: Proxy | None, dialer: Dialer, *, max_body_bytes: int) -> None:
        self._origin = origin
        self._proxy = proxy
        self._dialer = dialer
        self._max_body_bytes = max_body_bytes
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the longest idle first
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    def take(self) -> Connection | None:
        """An idle connection, None when there is none."""
        while self._idle:
            connection, since = self._idle.popitem()
            if self._loop.time() - since < KEEP_ALIVE_S and not connection.transport.is_closing():
                return connection
            connection.close()
        return None

    async def dial(self, timeout_s: float) -> Connection:
        """A new connection; raises as `Dialer.dial` does."""
        connection = await self._dialer.dial(self._origin, self._proxy, self._make, timeout_s)
        if connection.transport.is_closing():
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        # Not before: uvloop never tells a connection that it is lost when the dialling is cancelled at its very end.
        self._open.add(connection)
        return connection

    async def close(self) -> None:
        """Close every connection, and return when all are closed."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in self._open:
            connection.close()
        if self._open:
            self._emptied = self._loop.create_future()
            await self._emptied

    def _make(self, *, tunnels: bool = False) -> Connection:
        return Connection(self._put, self._forget, max_body_bytes=self._max_body_bytes, tunnels=tunnels)

    def _put(self, connection: Connection) -> None:
        self._idle[connection] = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEEP_ALIVE_S, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and look again when the next one has."""
        self._sweeping = None
        oldest_s = self._loop.time() - KEEP_ALIVE_S
        for connection, since in list(self._idle.items()):
            if since > oldest_s:
                self._sweeping = self._loop.call_later(since - oldest_s, self._sweep)
                break
            del self._idle[connection]
            connection.close()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)
