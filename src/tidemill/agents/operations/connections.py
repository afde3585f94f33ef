"""`Connections`: one transport for all that call an API at the same time, closed when the last is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import Transport

MAX_RESPONSE = 4 << 20
"""Bytes of the longest response that is taken."""


class Connections:
    """A transport for each loop that has somebody who holds it open.

    Runs of an agent that overlap use the same connections; what one loop has, no other touches.
    """

    def __init__(self) -> None:
        self._open: dict[asyncio.AbstractEventLoop, tuple[Transport, int]] = {}

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Transport]:
        """The running loop's transport."""
        loop = asyncio.get_running_loop()
        transport, holders = self._open.get(loop) or (HttpTransport(max_body_bytes=MAX_RESPONSE), 0)
        self._open[loop] = transport, holders + 1
        try:
            yield transport
        finally:
            _, holders = self._open[loop]
            if holders > 1:
                self._open[loop] = transport, holders - 1
            else:
                del self._open[loop]
                await transport.close()
