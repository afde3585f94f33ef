"""A model's own server in a loop: started by the first call to it, and looked after by every one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.calls.wire import Request, Response, Transport
from tidemill.errors import TransientCallError
from tidemill.models.local.command import RunningServer, check_command, open_command_server
from tidemill.models.serve import Serve
from tidemill.resources.demand import OnDemand


class ManagedServer:
    """The server of one model. Belongs to one loop.

    A server that has ended is not started again: every call then fails with its last lines, and with it the run.

    Raises (constructor): ConfigError: there is no such program.

    Args:
        serve: its command.
        base_url: where it answers, for a command that is given no port.
        folder: what it runs in.
    """

    def __init__(self, serve: Serve, base_url: str | None, folder: Path) -> None:
        check_command(serve, folder)
        self._serve, self._base_url, self._folder = serve, base_url, folder
        self._closing = threading.Event()
        self._running: RunningServer | None = None
        self._server = OnDemand(self._open)

    async def get(self) -> str:
        """What comes before the path of a request: the base URL, or nothing where the model has one of its own.

        Raises:
            ConfigError, ResourceError: it cannot be started, or has ended.
        """
        server = await self._server.get()
        server.check()
        return server.base_url if self._base_url is None else ""

    def check(self) -> None:
        """Refuse if it has ended.

        Raises:
            ResourceError: it has; with its last lines.
        """
        if self._running is not None:
            self._running.check()

    async def close(self) -> None:
        """End the server, if it was started, though it does not answer yet."""
        self._closing.set()
        await self._server.close()

    @contextmanager
    def _open(self) -> Iterator[RunningServer]:
        with open_command_server(
            self._serve, base_url=self._base_url, folder=self._folder, is_stopped=self._closing.wait
        ) as self._running:
            yield self._running


class ManagedTransport:
    """Sends requests to a managed server by `transport`, which is closed with it; one that has ended says so."""

    def __init__(self, transport: Transport, server: ManagedServer) -> None:
        self._transport = transport
        self._server = server

    async def send(self, request: Request, timeout_s: float) -> Response:
        """As `Transport.send`.

        Raises:
            ResourceError: the server has ended.
        """
        try:
            return await self._transport.send(request, timeout_s)
        except TransientCallError:
            self._server.check()
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()
