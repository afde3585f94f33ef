"""What is entered in a thread beside a loop, and functions that are called there: for what belongs to one thread."""

from __future__ import annotations

import asyncio
import functools
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from tidemill.errors import ResourceError
from tidemill.resources.worker import WorkerThread

LEAVE_S = 2.0
"""Seconds that a function may still take when what it uses is to be left; then nobody waits for that any more."""


class BesideFunction(functools.partial[Any]):
    """A function that must be called in the thread in which it was entered, or what it takes was opened."""


class Beside:
    """A plain context manager as an async one: entered and left in a thread beside the loop.

    Args:
        manager: what is entered, once.
        thread: where.
        label: what a message calls it.
    """

    def __init__(self, manager: AbstractContextManager[Any], thread: WorkerThread, label: str) -> None:
        self._manager = manager
        self._thread = thread
        self._label = label
        self._is_entered = False

    async def __aenter__(self) -> Any:
        try:
            return await self._thread.run(self._enter)
        except asyncio.CancelledError:
            self._leave_later()  # behind the entering, which goes on
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        done, _ = await asyncio.wait([self._thread.start(_do_nothing)], timeout=LEAVE_S)
        if not done:
            self._leave_later()
            raise ResourceError(f"{self._label} stays open until a function that uses it returns")
        await self._thread.run(self._leave)

    def _leave_later(self) -> None:
        future = self._thread.start(self._leave)
        future.add_done_callback(lambda left: left.cancelled() or left.exception())  # looked at: nobody is told

    def _enter(self) -> Any:
        value = self._manager.__enter__()
        self._is_entered = True
        return value

    def _leave(self) -> None:
        if self._is_entered:
            self._is_entered = False
            self._manager.__exit__(None, None, None)


def _do_nothing() -> None:
    pass
