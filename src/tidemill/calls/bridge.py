"""The one bridge between plain Python and the event loop: a loop in a thread of its own.

It works wherever it is called from: a script, a notebook cell or an ASGI handler whose own loop is running.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self, TypeVar

from tidemill.resources.process import calm_gc

T = TypeVar("T")


class Bridge:
    """A running event loop in a daemon thread: uvloop where it exists. Hold it with `with`.

    `run` and `iterate` may be called from any thread but the loop's own. Leaving cancels what still runs and waits
    for it.
    """

    def __init__(self) -> None:
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._serve, name="tidemill-loop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def run(self, coroutine: Coroutine[Any, Any, T], on_interrupt: Callable[[int], None] | None = None) -> T:
        """The result of `coroutine`, run on the bridge's loop.

        A KeyboardInterrupt in the waiting thread goes to `on_interrupt` with how many there have been, and the
        waiting goes on; without it the coroutine is cancelled and the interrupt raised.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        interrupts = 0
        while True:
            try:
                return future.result()
            except KeyboardInterrupt:
                interrupts += 1
                if on_interrupt is None or future.done() or interrupts > 2:
                    future.cancel()
                    raise
                self._loop.call_soon_threadsafe(on_interrupt, interrupts)

    def iterate(self, next_batch: Callable[[], Coroutine[Any, Any, list[T]]]) -> Iterator[T]:
        """The items of the batches that `next_batch` gives, until an empty one."""
        while batch := self.run(next_batch()):
            yield from batch

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        with calm_gc():
            try:
                self._loop.run_forever()
            finally:
                _cancel_all(self._loop)
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.close()
                asyncio.set_event_loop(None)


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
