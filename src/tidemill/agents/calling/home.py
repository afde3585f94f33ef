"""`Home`: the loop that coroutine tools belong to, where that is not the one that calls them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any


class Home:
    """Calls coroutine functions where what they use belongs: by default in the loop that asks.

    Args:
        loop: another loop, which runs meanwhile.
        context: the variables that they see there.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, context: contextvars.Context | None = None
    ) -> None:
        self._loop = loop
        self._context = context

    @classmethod
    def here(cls) -> Home:
        """The running loop, with the variables of whoever calls this."""
        return cls(asyncio.get_running_loop(), contextvars.copy_context())

    def call(
        self, fn: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """What `fn(*args, **kwargs)` gives once it is awaited.

        Cancelling cancels it and waits for its end, also in another loop.
        """
        if self._loop is None:
            return fn(*args, **kwargs)
        return _Visit(self._loop, self._context, partial(fn, *args, **kwargs)).end()


class _Visit:
    """One call in another loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
        make: Callable[[], Awaitable[Any]],
    ) -> None:
        self._there = loop
        self._here = asyncio.get_running_loop()
        self._make = make
        self._ended: asyncio.Future[None] = self._here.create_future()
        self._task: asyncio.Task[Any] | None = None
        loop.call_soon_threadsafe(self._start, context=context)

    async def end(self) -> Any:
        """What the call gave; raises what it raised."""
        cancelled: asyncio.CancelledError | None = None
        while not self._ended.done():
            try:
                await asyncio.shield(self._ended)
            except asyncio.CancelledError as exc:
                if cancelled is None:
                    self._there.call_soon_threadsafe(self._cancel)
                cancelled = exc
        if cancelled is not None:
            raise cancelled
        assert self._task is not None
        return self._task.result()

    def _start(self) -> None:
        self._task = self._there.create_task(_await(self._make))
        self._task.add_done_callback(self._tell)

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()

    def _tell(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # looked at: whoever asked may have been cancelled
        with suppress(RuntimeError):  # the loop that asked is closed
            self._here.call_soon_threadsafe(_set, self._ended)


async def _await(make: Callable[[], Awaitable[Any]]) -> Any:
    return await make()


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
