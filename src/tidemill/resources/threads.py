"""`Threads`: a bounded number of threads for plain functions that wait, each for one at a time."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from tidemill.resources.worker import WorkerThread

T = TypeVar("T")


class Threads:
    """Runs plain functions beside the loop, at most so many at once; the others wait, first in first out.

    A function cannot be ended from outside. One whose caller was cancelled goes on, its result is thrown away, and its
    thread is taken until it returns: whoever waits for a thread waits for it too. The threads are daemons, made when
    they are first needed. Belongs to one loop.

    Args:
        name: what the threads' names end with.
        most: how many there are at most, asked whenever one is wanted: it may change.
    """

    def __init__(self, name: str, most: Callable[[], int]) -> None:
        self._name = name
        self._most = most
        self._made: list[WorkerThread] = []
        self._free: list[WorkerThread] = []
        self._waiting: deque[asyncio.Future[WorkerThread]] = deque()
        self._is_closed = False

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """The result of `fn(*args)`, called with the caller's context variables; what it raises is raised here.

        Cancelling stops the waiting, not the function.
        """
        thread = await self._take()
        try:
            future: asyncio.Future[T] = thread.start(contextvars.copy_context().run, fn, *args, on_end=self._give_back)
        except BaseException:
            self._give_back(thread)
            raise
        try:
            return await future
        finally:
            if future.done() and not future.cancelled():
                future.exception()  # looked at: whoever was to be told may have been cancelled just then

    def close(self) -> None:
        """End the threads, each once its function has returned; nobody waits for that, or the loop need not go on."""
        self._is_closed = True
        self._free.clear()
        for thread in self._made:
            thread.close(wait=False)

    async def _take(self) -> WorkerThread:
        if self._free:
            return self._free.pop()
        if len(self._made) < self._most():
            self._made.append(WorkerThread(self._name))
            return self._made[-1]
        waiter: asyncio.Future[WorkerThread] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_back(waiter.result())  # it came, and nobody is there to take it
            raise

    def _give_back(self, thread: WorkerThread) -> None:
        if self._is_closed:
            thread.close(wait=False)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(thread)
                return
        self._free.append(thread)
