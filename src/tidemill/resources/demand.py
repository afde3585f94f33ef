"""`OnDemand`: a resource that is entered by the first who asks for it, if anyone does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from tidemill.resources.worker import WorkerThread

T = TypeVar("T")


class OnDemand(Generic[T]):
    """What blocks to enter and to leave: entered once, in a thread of its own, when it is first asked for.

    Left in that thread, too, which the loop's own executor could not do once the interpreter is on its way out. Belongs
    to one loop.

    Args:
        make: makes the resource; may block as well.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        self._make = make
        self._resource: AbstractContextManager[T] | None = None
        self._entering: asyncio.Future[T] | None = None
        self._thread: WorkerThread | None = None

    async def get(self) -> T:
        """What entering the resource gave; whoever asks meanwhile waits for it.

        Cancelling ends the waiting, not the entering.

        Raises:
            Exception: it could not be entered: the same for all who ask.
        """
        if self._entering is None:
            self._thread = WorkerThread("on-demand")
            self._entering = self._thread.start(self._enter)
        return await asyncio.shield(self._entering)

    async def close(self) -> None:
        """Leave the resource, if anyone asked for it, once it is entered. Nobody may ask afterwards."""
        if self._entering is None or self._thread is None:
            return
        await asyncio.wait([self._entering])
        thread, self._thread = self._thread, None
        try:
            if self._entering.exception() is None and self._resource is not None:
                resource, self._resource = self._resource, None
                await thread.run(resource.__exit__, None, None, None)
        finally:
            thread.close(wait=False)

    def _enter(self) -> T:
        self._resource = self._make()
        return self._resource.__enter__()
