"""`Sessions`: what tools keep for the length of one run of an agent."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from tidemill.agents.calling.outside import Outside
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.tool import Tool
from tidemill.resources.releasing import raise_failures

logger = logging.getLogger(__name__)


class Sessions:
    """The sessions of the tools of one run, each opened by the first call that needs it. Belongs to one loop.

    Each is entered and left in one task, in the loop its user's objects belong to, as `async with` asks for.
    """

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._open: dict[str, _Session] = {}

    async def find(self, tool: Tool, context: Context[Any]) -> Callable[..., Any]:
        """The function that calls of `tool` go to; the session is opened if it is not, with `context`.

        Cancelling stops the waiting, not the opening. One that could not be opened, or has ended by itself since, as
        with a server that died, is opened anew by the next call.

        Raises:
            Exception: it could not be opened.
        """
        session = self._open.get(tool.name)
        if session is None or session.has_ended:
            session = self._open[tool.name] = _Session(tool, context, self._outside)
        try:
            return await asyncio.shield(session.function)
        except asyncio.CancelledError:
            raise
        except BaseException:
            if self._open.get(tool.name) is session:
                del self._open[tool.name]
            raise

    async def close(self) -> None:
        """Leave all sessions, the last opened first.

        Cancelling is raised once all are left.

        Raises:
            BaseException: a session could not be left; a group of those where there are several.
        """
        failures: list[BaseException] = []
        while self._open:
            _, session = self._open.popitem()
            failures += await session.close()
        raise_failures(None, failures, "several tools' sessions could not be left")


class _Session:
    """One session: a task that holds it open.

    Attributes:
        function: a future of what the session gives.
    """

    def __init__(self, tool: Tool, context: Context[Any], outside: Outside) -> None:
        self._name = tool.name
        self._loop = asyncio.get_running_loop()
        self._closing: Callable[[], object] | None = None
        self._is_closing = False
        self.function: asyncio.Future[Callable[..., Any]] = self._loop.create_future()
        self._task = self._loop.create_task(outside.call_home(self._hold, tool, context))
        self._task.add_done_callback(self._end)

    @property
    def has_ended(self) -> bool:
        """Whether it was open and is no more, though nobody has left it."""
        return self._closing is not None and self._task.done()

    async def close(self) -> list[BaseException]:
        """Leave it, and give what that failed with; of one that has ended by itself that was told."""
        if self.has_ended:
            return []
        self._is_closing = True
        if self._closing is not None:
            self._closing()
        elif not self._task.done():
            self._task.cancel()  # nobody has what it would open
        cancelled: list[BaseException] = []
        while not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = [error]
        if self._task.cancelled() or not self.function.done() or self.function.cancelled():
            return cancelled
        failure = None if self.function.exception() is not None else self._task.exception()
        return cancelled if failure is None else [*cancelled, failure]

    async def _hold(self, tool: Tool, context: Context[Any]) -> None:
        """Hold the session open until it is to be left; runs in the loop that it belongs to."""
        assert tool.open_session is not None
        closing = asyncio.Event()
        home = asyncio.get_running_loop()
        async with tool.open_session(context) as function:
            tell = partial(home.call_soon_threadsafe, closing.set)
            self._loop.call_soon_threadsafe(self._give, function, tell)
            await closing.wait()

    def _give(self, function: Callable[..., Any], closing: Callable[[], object]) -> None:
        self._closing = closing
        if self._is_closing:
            closing()
        if not self.function.done():
            self.function.set_result(function)

    def _end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self.function.done():
            if not self._is_closing:
                logger.warning("the session of the tool %s ended by itself: %r", self._name, error)
            return
        if error is None:
            self.function.cancel()
        else:
            self.function.set_exception(error)
            self.function.exception()  # looked at: whoever asked for it may be gone


def is_coroutine_function(fn: Any) -> bool:
    """Whether calling `fn`, a function or an object that can be called, gives a coroutine."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(type(fn), "__call__", None))  # noqa: B004
