"""Virtual time: an event loop whose clock jumps to the next timer when nothing else is left to do.

An hour of back-off takes no time, and every run of a test sees the same sequence.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from tidemill.errors import WorkerError

T = TypeVar("T")


class FakeClock:
    """Seconds that pass only when told; `clock()` is the time now.

    Hand the clock's value to a pure state machine, or the clock itself to `run_virtual` to read a loop's time from
    outside. Not for use from several threads.
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> float:
        """Let `seconds` pass; returns the time then."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: advance({seconds})")
        self.now_s += seconds
        return self.now_s


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on a `FakeClock`.

    When no callback is ready and no file descriptor has news, the clock is set to the next timer. It stands still
    while a `run_in_executor` or `to_thread` job runs. It knows nothing of what other threads or sockets are about to
    bring: code that talks to a real server belongs on a real loop.

    Args:
        patience_s: real seconds that a loop with no timer set waits for another thread before it is called stuck.
    """

    def __init__(self, clock: FakeClock | None = None, *, patience_s: float = 10.0) -> None:
        self.clock = clock or FakeClock()
        self._jobs = 0
        super().__init__(_JumpingSelector(self._idle, patience_s))

    def time(self) -> float:
        return self.clock.now_s

    def run_in_executor(  # type: ignore[override]  # the stub's variadic form, which a count cannot pass on typed
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self._jobs -= 1

    def _idle(self, timeout_s: float | None) -> bool:
        """Let the time until the next timer pass; False when there is none or a job still runs."""
        if timeout_s is None or self._jobs:
            return False
        self.clock.advance(timeout_s)
        return True


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that, instead of sleeping, asks `idle` to let the time pass."""

    def __init__(self, idle: Callable[[float | None], bool], patience_s: float) -> None:
        super().__init__()
        self._idle = idle
        self._patience_s = patience_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0 or self._idle(timeout):
            return events
        events = super().select(self._patience_s)
        if not events:
            raise WorkerError(
                "every task waits, no timer is set and no other thread woke the loop",
                hint="what was awaited needs someone to set it: a future, an event, a reply?",
            )
        return events


def run_virtual(main: Coroutine[Any, Any, T], *, clock: FakeClock | None = None, patience_s: float = 10.0) -> T:
    """The result of `main`, run on a `VirtualLoop`: in virtual time.

    Raises:
        WorkerError: every task waits and nothing is left that could wake one.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, patience_s=patience_s)) as runner:
        return runner.run(main)
