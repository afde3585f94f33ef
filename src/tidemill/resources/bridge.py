"""The one bridge between plain Python and the event loop: a loop in a thread of its own.

It works wherever it is called from: a script, a notebook cell or an ASGI handler whose own loop is running.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext, suppress
from typing import Any, Generic, Self, TypeVar

from tidemill.resources.process import calm_gc, more_open_files
from tidemill.resources.worker import THREAD_PREFIX, join_thread

T = TypeVar("T")

OnInterrupt = Callable[[int, type[KeyboardInterrupt]], None]
"""Told of an interrupt: which one it is, counted from 1, and its type (a subclass stands for another signal)."""

WAKE_S = 0.2
"""Seconds between two looks for a signal: one that comes just before a thread begins to wait does not wake it."""


class Bridge:
    """A running event loop in a daemon thread: uvloop where it exists. Hold it with `with`.

    `run`, `arun` and `iterate` may be called from any thread but the loop's own, `call` from any. Leaving
    cancels what still runs and waits for it.

    Args:
        calms_gc: whether the process's garbage collector is calmed meanwhile. It then leaves what stands now alone, so
            that nothing which lives on may hang on an object that is only ever dropped, as iterators are.
    """

    def __init__(self, *, calms_gc: bool = True) -> None:
        self._calms_gc = calms_gc
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._serve, name=f"{THREAD_PREFIX}loop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        join_thread(self._thread)

    def call(self, fn: Callable[..., object], *args: Any) -> None:
        """Have `fn(*args)` called in the loop soon, in the order asked for; nobody waits. From any thread."""
        self._loop.call_soon_threadsafe(fn, *args)

    def run(self, coroutine: Coroutine[Any, Any, T], on_interrupt: OnInterrupt | None = None) -> T:
        """The result of `coroutine`, run on the bridge's loop.

        The first and the second KeyboardInterrupt in the waiting thread go to `on_interrupt`, which is called in the
        loop, and the waiting goes on. A third one, or any without `on_interrupt`, cancels the coroutine and is raised
        once that has ended; one more is raised at once.
        """
        running = _Running(self._loop, coroutine)
        interrupts = 0
        try:
            while True:
                try:
                    return running.result()
                except KeyboardInterrupt as exc:
                    interrupts += 1
                    if on_interrupt is None or interrupts > 2:
                        running.cancel()
                        running.wait()
                        raise
                    if not running.has_ended:
                        self._loop.call_soon_threadsafe(on_interrupt, interrupts, type(exc))
        finally:
            del running  # an error it holds has this frame in its traceback: no cycle is left for the collector

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of `coroutine`, run on the bridge's loop and awaited in another.

        Cancelling, however often, cancels the coroutine once, and is raised when that has ended.
        """
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop that waited is closed: nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        running = _Running(self._loop, coroutine, tell)
        cancelled: asyncio.CancelledError | None = None
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError as exc:
                if cancelled is None:  # once: a second one would cut short how the coroutine ends
                    running.cancel()
                cancelled = exc
        try:
            if cancelled is not None:
                raise cancelled
            return running.result()
        finally:
            del running, cancelled  # an error has this frame in its traceback: no cycle is left for the collector

    def iterate(self, next_batch: Callable[[], Coroutine[Any, Any, list[T]]]) -> Iterator[T]:
        """The items of the batches that `next_batch` gives, until an empty one; none is held once it is given."""
        while batch := deque(self.run(next_batch())):
            while batch:
                yield batch.popleft()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        with calm_gc() if self._calms_gc else nullcontext(), more_open_files():
            try:
                self._loop.run_forever()
            finally:
                _cancel_all(self._loop)
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.close()
                asyncio.set_event_loop(None)


class _Running(Generic[T]):
    """A coroutine started in a loop from another thread, which waits for it on a bare lock, or is told of its end.

    An interrupt within the Python code of a Future or an Event can leave its lock held, and then whoever sets it waits
    for ever.

    Attributes:
        has_ended: the coroutine has really ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self.has_ended = False
        self._on_end = on_end
        self._ended = threading.Lock()  # held until then
        self._ended.acquire()
        self._loop = loop
        self._task: asyncio.Task[T]
        loop.call_soon_threadsafe(self._start, coroutine)

    def wait(self) -> None:
        """Wait until it has ended; an interrupt breaks the waiting off, and it can be taken up again."""
        while not self.has_ended:
            self._ended.acquire(timeout=WAKE_S)

    def result(self) -> T:
        """What the coroutine gave, when it has ended; raises what it raised."""
        self.wait()
        try:
            if self._task.cancelled():
                raise concurrent.futures.CancelledError
            return self._task.result()
        finally:
            del self  # what is raised has this frame in its traceback

    def cancel(self) -> None:
        """Cancel it, from any thread."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._task.cancel()

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._task = self._loop.create_task(coroutine)
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[T]) -> None:
        self.has_ended = True
        self._ended.release()
        if self._on_end is not None:
            self._on_end()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
