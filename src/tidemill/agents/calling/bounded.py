"""`Bounded`: a coroutine in a task of its own, which can be given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Literal, TypeVar

from tidemill.errors import WorkerError

T = TypeVar("T")

GRACE_S = 2.0
"""What a coroutine that was given up may take to clean up before it is left behind."""

Reason = Literal["timeout", "cancelled"]


class GivenUp(Exception):  # noqa: N818 - a word between who waits and who is waited for
    """What was waited for gave nothing, and is not waited for any more.

    Attributes:
        reason: why: its time was over, or somebody said so.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Exited(Exception):  # noqa: N818 - carries one
    """A user's function raised SystemExit (or, in a thread, KeyboardInterrupt), which would end the loop in a task."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class Bounded(Generic[T]):
    """A coroutine in a task of its own, which is given up at its time limit or when told so.

    To give it up is to cancel it. What it still gives within `GRACE_S` counts as if nothing had been said; one that
    does not end by then is left behind. Belongs to one loop; `wait` is awaited once.

    Args:
        leave: gets the task that is left behind.
    """

    __slots__ = ("_ended", "_leave", "_loop", "_reason", "_task", "_timer")

    def __init__(self, coroutine: Coroutine[Any, Any, T], leave: Callable[[asyncio.Task[Any]], object]) -> None:
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._reason: Reason | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = self._loop.create_future()
        self._task = self._loop.create_task(_carry_exit(coroutine))
        self._task.add_done_callback(self._end)

    async def wait(self, timeout_s: float | None = None) -> T:
        """What the coroutine gives.

        Cancelling gives it up and is raised once it has ended, or is left behind.

        Raises:
            GivenUp: it was given up.
            Exited: it raised SystemExit.
            Exception: whatever else it raised.
        """
        if timeout_s is not None:
            self._timer = self._loop.call_later(timeout_s, self.give_up, "timeout")
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self._ended
                break
            except asyncio.CancelledError as error:  # kept, and raised once nothing runs that could be ended
                cancelled = error
                if self._task.done():
                    break
                self._ended = self._loop.create_future()
                self.give_up("cancelled")
        if self._timer is not None:
            self._timer.cancel()
        if not self._task.done():
            self._leave(self._task)
        try:
            if cancelled is not None:
                raise cancelled
            return self._result()
        finally:
            del cancelled, self._task  # an error of the task has this frame in its traceback: no cycle is left

    def give_up(self, reason: Reason) -> None:
        """End it for `reason`, unless it has ended or somebody said so before."""
        if self._reason is not None or self._task.done():
            return
        self._reason = reason
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(GRACE_S, self._end)
        self._task.cancel()

    def _end(self, task: asyncio.Task[T] | None = None) -> None:
        if task is not None and not task.cancelled():
            task.exception()  # looked at: whoever was to be told may be gone
        if not self._ended.done():
            self._ended.set_result(None)

    def _result(self) -> T:
        if not self._task.done():
            assert self._reason is not None
            raise GivenUp(self._reason)
        if self._task.cancelled():
            if self._reason is not None:
                raise GivenUp(self._reason)
            raise WorkerError("it raised CancelledError, and nobody had cancelled it")
        error = self._task.exception()
        if error is None:
            return self._task.result()
        try:
            if self._reason is not None and not isinstance(error, Exited):
                raise GivenUp(self._reason) from error
            raise error
        finally:
            del error


async def _carry_exit(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except SystemExit as error:
        raise Exited(error) from None
