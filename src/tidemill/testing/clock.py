"""Virtual time: an event loop whose clock jumps to the next timer when nothing else is left to do.

An hour of back-off takes no time, and every run of a test sees the same sequence.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from tidemill.errors import WorkerError
from tidemill.resources.worker import count_at_work

T = TypeVar("T")

PATIENCE_S = 60.0
"""What a function in a thread may take, also on a machine that stands still now and then."""


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
    while a `run_in_executor` or `to_thread` job runs, or a function in one of Tidemill's own threads, so that a whole
    job can run on it; and while a socket is watched, time passes as it does. It knows nothing of what other threads
    are about to bring.

    Args:
        patience_s: real seconds that a loop with no timer set waits for another thread before it is called stuck.
    """

    def __init__(self, clock: FakeClock | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self.clock = clock or FakeClock()
        self._jobs = 0
        super().__init__(_JumpingSelector(self.clock, self._idle, patience_s))

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
        if timeout_s is None or self._jobs or count_at_work(self):
            return False
        self.clock.advance(timeout_s)
        return True


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that, instead of sleeping, asks `idle` to let the time pass."""

    def __init__(self, clock: FakeClock, idle: Callable[[float | None], bool], patience_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._idle = idle
        self._patience_s = patience_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if len(self.get_map()) > 1:  # more than what other threads wake the loop with
            started = time.monotonic()
            events = super().select(timeout)
            self._clock.advance(time.monotonic() - started)
            return events
        if self._idle(timeout):
            return events
        events = super().select(self._patience_s)
        if not events:
            raise WorkerError(
                "every task waits, no timer is set and no other thread woke the loop",
                hint="what was awaited needs someone to set it: a future, an event, a reply?",
            )
        return events


def run_virtual(main: Coroutine[Any, Any, T], *, clock: FakeClock | None = None, patience_s: float = PATIENCE_S) -> T:
    """The result of `main`, run on a `VirtualLoop`: in virtual time.

    Raises:
        WorkerError: every task waits and nothing is left that could wake one.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, patience_s=patience_s)) as runner:
        return runner.run(main)
