"""`HeldSource`: a server's tools, opened by the first run that needs them and held by one task."""

from __future__ import annotations

import asyncio

from tidemill.agents.tools.tool import Tool, ToolSource
from tidemill.agents.tools.ways import ToolWays


class HeldSource:
    """Tools of a source. Belongs to one loop; what it opens is entered and left in one task, as it may need.

    Args:
        source: where they come from.
        ways: how they get out.
    """

    def __init__(self, source: ToolSource, ways: ToolWays) -> None:
        self._source = source
        self._ways = ways
        self._closing = asyncio.Event()
        self._opened: asyncio.Future[list[Tool]] | None = None
        self._holding: asyncio.Task[None] | None = None

    async def tools(self) -> list[Tool]:
        """Its tools; whoever asks meanwhile waits for the same opening.

        Raises:
            Exception: what opening it raised: the same for all who ask.
        """
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._opened.add_done_callback(_look_at)
            self._holding = asyncio.create_task(self._hold(self._opened))
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        """Leave it, if it was opened."""
        self._closing.set()
        if self._holding is not None:
            await self._holding

    async def _hold(self, opened: asyncio.Future[list[Tool]]) -> None:
        try:
            async with self._source.open(self._ways) as tools:
                opened.set_result(tools)
                await self._closing.wait()
        except BaseException as exc:
            if opened.done() or not isinstance(exc, Exception):
                raise
            opened.set_exception(exc)


def _look_at(opened: asyncio.Future[list[Tool]]) -> None:
    if not opened.cancelled():
        opened.exception()  # whoever asked may be gone
