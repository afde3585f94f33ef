"""A fault server on its port: listening, refusing connections while an outage says so, ending with its parent."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence

from tidemill.testing.board import Board
from tidemill.testing.load.admission import Admission
from tidemill.testing.load.plan import Load, Outage
from tidemill.testing.loopback import Connection

BACKLOG = 8192
HOST = "127.0.0.1"
PARENT_CHECK_S = 0.5


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The fastest loop there is; None for asyncio's own."""
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: asyncio's own loop, at about half the speed
        return None
    return uvloop.new_event_loop


class Listener:
    """The port of one server, open except while an outage refuses connections. Belongs to one loop."""

    def __init__(self, board: Board, port: int) -> None:
        self.port = port
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._holder: socket.socket | None = None
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        if self._server is not None:
            return
        if self._holder is None and sys.platform == "linux":
            # Holds the port while the server does not listen: a client's own end would otherwise get it, of all ports.
            self._holder = _bind(self.port)
            self.port = self._holder.getsockname()[1]
        bound = _bind(self.port)
        self.port = bound.getsockname()[1]
        self._server = await self._loop.create_server(
            lambda: Connection(self._board, self._loop, self._admit, self._connections.discard),
            sock=bound,
            backlog=BACKLOG,
        )

    def refuse(self) -> None:
        """Stop listening, and reset every connection: nothing is answered from here on."""
        self._stop(Connection.reset)

    def _stop(self, end: Callable[[Connection], None]) -> asyncio.Server | None:
        """Stop listening, and end every connection; what listened, None where nothing did."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for connection in list(self._connections):
                end(connection)
        return server

    def _admit(self, connection: Connection) -> None:
        """Keep a connection; one whose accepting a refusal overtook is reset as the others were."""
        self._connections.add(connection)
        if self._server is None:
            connection.reset()

    async def close(self) -> None:
        """Give the port up."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        server = self._stop(lambda connection: connection.transport.abort())
        if server is not None:
            await server.wait_closed()
        if self._holder is not None:
            self._holder.close()
        await asyncio.sleep(0)

    def follow(self, admission: Admission | None) -> None:
        """Refuse connections from now on when the load says so; None: listen, whatever an earlier one said."""
        if self._following is not None:
            self._following.cancel()
            self._following = None
        load = admission.load if admission is not None else Load()
        outages = [outage for outage in load.outages if outage.kind == "refused"]
        if any(outage.is_on(0.0) for outage in outages):
            self.refuse()
        if outages:
            self._following = self._loop.create_task(self._follow(outages, self._loop.time()))
        elif self._server is None:
            self._following = self._loop.create_task(self.open())

    async def _follow(self, outages: Sequence[Outage], started_at: float) -> None:
        at_s = 0.0
        while math.isfinite(at_s):
            await asyncio.sleep(started_at + at_s - self._loop.time())
            if any(outage.is_on(at_s) for outage in outages):
                self.refuse()
            else:
                await self.open()
            at_s = min(next(outage.boundaries(at_s, math.inf), math.inf) for outage in outages)


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound


async def serve(board: Board, port: int, stop: asyncio.Event, started: Callable[[int], None]) -> None:
    """Serve `board` on loopback until `stop` is set; `started` gets the port."""
    listener = Listener(board, port)
    try:
        await listener.open()
        board.on_start = listener.follow
        started(listener.port)
        await stop.wait()
    finally:
        board.on_start = None
        await listener.close()


async def serve_child(board: Board, port: int, started: Callable[[int], None]) -> None:
    """Serve until standard input closes (if it is a pipe) or the parent is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    parent = os.getppid()

    def check_parent() -> None:
        if os.getppid() != parent:
            stop.set()
        loop.call_later(PARENT_CHECK_S, check_parent)

    def check_input() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    check_parent()
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        loop.add_reader(0, check_input)
    await serve(board, port, stop, started)
