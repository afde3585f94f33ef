"""`WorkerThread`: one thread that runs functions in the order given, for work that blocks."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import weakref
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from tidemill.errors import WorkerError

T = TypeVar("T")

THREAD_PREFIX = "tidemill-"
"""What the names of Tidemill's own threads begin with."""


_at_work: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()
"""How many functions each loop has given away; read and written in the loop's own thread only."""


def count_at_work(loop: asyncio.AbstractEventLoop) -> int:
    """The functions in worker threads that `loop` has yet to hear of; asked in its own thread."""
    return _at_work.get(loop, 0)


def make_thread(name: str, target: Callable[..., object], *args: Any) -> threading.Thread:
    """A daemon thread of Tidemill's own, not started, that runs `target(*args)` with its maker's context variables.

    So what belongs to a run or a task, as where its latency blocks are counted, is the same in the threads it makes.
    """
    call = copy_context().run
    return threading.Thread(target=call, args=(target, *args), name=f"{THREAD_PREFIX}{name}", daemon=True)


def join_thread(thread: threading.Thread) -> None:
    """Wait for the end of `thread`, where it can be waited for."""
    with contextlib.suppress(RuntimeError):  # it is this one, since the collector closes things in any; or an interrupt
        thread.join()  # came before it began


class WorkerThread:
    """A thread for one kind of blocking work: reading, sealing, the ledger; with its maker's context variables.

    A daemon thread, so that a source that blocks for ever cannot hold the process; whoever must wait for the
    work closes with `wait`. `run` may be awaited by several tasks of one loop; the functions run one after another.
    """

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._last: Callable[[], object] | None = None
        self._thread = make_thread(name, self._run)
        self._thread.start()

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """The result of `fn(*args)`, run in the thread; what it raises is raised here.

        Cancelling stops the waiting, not the function.
        """
        return await self.start(fn, *args)

    def start(
        self, fn: Callable[..., T], *args: Any, on_end: Callable[[WorkerThread], object] | None = None
    ) -> asyncio.Future[T]:
        """A future of the running loop for the result of `fn(*args)`, run in the thread.

        Args:
            on_end: called in the loop once the function has ended, also where nobody waits for it any more.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        _at_work[loop] = _at_work.get(loop, 0) + 1
        self._tasks.put((loop, future, fn, args, on_end))
        return future

    def close(self, *, wait: bool = True, last: Callable[[], object] | None = None) -> None:
        """End the thread after what was given to it, and then `last`; `wait` for it or let it end by itself."""
        self._last = last
        self._tasks.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            loop, future, fn, args, on_end = task
            value: Any = None
            error: BaseException | None = None
            try:
                value = fn(*args)
            except StopIteration as exc:  # no future takes one, and whoever waits would wait for ever
                error = WorkerError("the function raised StopIteration, which is an error here, never an end")
                error.__cause__ = exc
            except BaseException as exc:  # noqa: BLE001 - handed to whoever waits
                error = exc
            try:
                loop.call_soon_threadsafe(self._settle, loop, future, value, error, on_end)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue
            finally:
                del future, fn, args, value, error, task, on_end
        if self._last is not None:
            self._last()

    def _settle(
        self,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
        value: Any,
        error: BaseException | None,
        on_end: Callable[[WorkerThread], object] | None,
    ) -> None:
        _at_work[loop] -= 1
        if on_end is not None:
            on_end(self)
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
