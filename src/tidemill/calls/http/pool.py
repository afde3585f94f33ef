"""The connections to one origin: kept for the next request, and opened a few at a time."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import OrderedDict
from typing import Final

from tidemill.calls.http.address import Origin, Proxy
from tidemill.calls.http.connection import Bound, Connection
from tidemill.calls.http.dialer import Dialer
from tidemill.calls.http.heads import Heads
from tidemill.calls.http.ramp import Ramp

KEEP_ALIVE_S: Final = 4.0
"""Idle connections are closed before the far side does it under a request: uvicorn, which serves vLLM, waits 5 s."""


class Pool:
    """Connections to one origin by one way. No bound on their number. Belongs to one event loop.

    The connection used last is used next, so that those nobody needs any more grow old and are closed. Who finds none
    waits in line for whatever comes first, one that is given back or a new one; the ramp says how many are dialled at
    once. A dial that fails ends no waiting while an open connection may still serve it; when none is open it ends that
    of the first in line, and of all when nothing else is being dialled.

    Args:
        origin, proxy: where they lead, and who takes them there.
        dialer: opens them.
        connect_timeout_s: for each dial.
        bound: the longest response they take.
    """

    def __init__(
        self, origin: Origin, proxy: Proxy | None, dialer: Dialer, *, connect_timeout_s: float, bound: Bound
    ) -> None:
        self._origin = origin
        self._proxy = proxy
        self._dialer = dialer
        self._connect_timeout_s = connect_timeout_s
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._ramp = Ramp()
        self._heads = Heads()
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the longest idle first
        self._waiting: OrderedDict[asyncio.Future[Connection], None] = OrderedDict()  # never while one is idle
        self._dialling: dict[asyncio.Task[None], None] = {}  # no more than are waiting, when they were started
        self._ended: set[asyncio.Task[None]] = set()  # dials that are cancelled and not over yet
        self._sweeping: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    def take(self) -> Connection | None:
        """An idle connection, None when there is none."""
        while self._idle:
            connection, since = self._idle.popitem()
            if self._loop.time() - since < KEEP_ALIVE_S and not connection.transport.is_closing():
                return connection
            connection.close()
        return None

    async def wait(self) -> Connection:
        """The next connection there is. Waits first in, first out, for as long as it takes.

        Raises as `Dialer.dial` does, when no connection comes about.
        """
        waiter: asyncio.Future[Connection] = self._loop.create_future()
        self._waiting[waiter] = None
        self._dial_more()
        try:
            connection = await waiter
        except BaseException:  # cancelled, too
            self._leave(waiter)
            raise
        finally:
            del waiter  # whose error has this frame in its traceback: no cycle is left for the collector
        if connection.transport.is_closing():
            raise _reset()
        return connection

    async def close(self) -> None:
        """Close every connection, and return when all are closed."""
        self._fail_waiting(len(self._waiting), ConnectionAbortedError("the transport was closed"))
        dials = [*self._dialling, *self._ended]
        for dial in self._dialling:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for timer in (self._sweeping, self._resting):
            if timer is not None:
                timer.cancel()
        for connection in self._open:
            connection.close()
        if self._open:
            self._emptied = self._loop.create_future()
            await self._emptied

    def _leave(self, waiter: asyncio.Future[Connection]) -> None:
        """Give up a place in line, with what came at the same moment and the dial that it alone needed."""
        if waiter.cancelled() or not waiter.done():
            self._waiting.pop(waiter, None)
        elif waiter.exception() is not None:
            return
        elif waiter.result().transport.is_closing():
            waiter.result().close()
        else:
            self._give(waiter.result())
        if len(self._dialling) > len(self._waiting):
            dial, _ = self._dialling.popitem()
            dial.cancel()
            self._ended.add(dial)
            dial.add_done_callback(self._ended.discard)

    def _dial_more(self) -> None:
        """Start the dials that are wanted and may be under way now."""
        if self._resting is not None and (self._open or self._dialling):
            return
        while len(self._dialling) < min(len(self._waiting), self._ramp.width):
            self._dialling[self._loop.create_task(self._dial())] = None

    async def _dial(self) -> None:
        """One new connection, for the first in line."""
        started_at = self._loop.time()
        try:
            connection = await self._dialer.dial(self._origin, self._proxy, self._make, self._connect_timeout_s)
            if connection.transport.is_closing():
                raise _reset()
        except Exception as exc:  # noqa: BLE001 - a worker's edge: whatever it is, those who wait for it must get it
            failure = exc
        else:
            # Not before: uvloop never tells a connection that it is lost when the dialling is cancelled at its end.
            self._open.add(connection)
            is_wide = len(self._dialling) >= self._ramp.width
            self._end_dial()
            self._ramp.succeed(started_at, self._loop.time(), is_used=is_wide)
            if self._resting is not None:
                self._resting.cancel()
                self._resting = None
            self._give(connection)
            self._dial_more()
            return
        try:
            self._end_dial()
            self._take_failure(failure, started_at)
        finally:
            del failure  # which has this frame in its traceback: no cycle is left for the collector

    def _end_dial(self) -> None:
        dial = asyncio.current_task()
        assert dial is not None
        self._dialling.pop(dial, None)  # not there when it was given up at its very end

    def _take_failure(self, exc: Exception, started_at: float) -> None:
        """Fail who can hope for nothing else, and let the far side rest a moment."""
        rest_s = self._ramp.fail(started_at, self._loop.time())
        if not self._open:
            self._fail_waiting(1 if self._dialling else len(self._waiting), exc)
        if self._resting is not None:
            self._resting.cancel()
        self._resting = self._loop.call_later(rest_s, self._end_rest)

    def _end_rest(self) -> None:
        self._resting = None
        self._dial_more()

    def _fail_waiting(self, count: int, exc: Exception) -> None:
        while self._waiting and count > 0:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(exc)
                count -= 1

    def _make(self, *, tunnels: bool = False) -> Connection:
        on_idle = Connection.close if tunnels else self._give  # a tunnel that the proxy refused is nobody's
        return Connection(on_idle, self._forget, bound=self._bound, heads=self._heads, tunnels=tunnels)

    def _give(self, connection: Connection) -> None:
        """Give a connection that can take a request to the first in line, or keep it."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle[connection] = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEEP_ALIVE_S, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and look again when the next one has."""
        self._sweeping = None
        oldest_s = self._loop.time() - KEEP_ALIVE_S
        for connection, since in list(self._idle.items()):
            if since - oldest_s > 0.001:  # as exact as the loop's timers
                self._sweeping = self._loop.call_later(since - oldest_s, self._sweep)
                break
            del self._idle[connection]
            connection.close()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)


def _reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
