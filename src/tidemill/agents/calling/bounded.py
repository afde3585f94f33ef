"""`Bounded`: a coroutine in a task of its own, which can be given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, Literal, TypeVar

from tidemill.errors import WorkerError

T = TypeVar("T")

GRACE_S = 2.0
"""What a coroutine that was given up may take to clean up before it is left behind."""

_NOTHING: Final = object()

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

    __slots__ = ("_coroutine", "_ended", "_error", "_leave", "_loop", "_reason", "_task", "_timer", "_value")

    def __init__(self, coroutine: Coroutine[Any, Any, T], leave: Callable[[asyncio.Task[Any]], object]) -> None:
        self._coroutine = coroutine
        self._leave = leave
        self._loop = loop = asyncio.get_running_loop()
        self._reason: Reason | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._value: Any = _NOTHING
        self._error: BaseException | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._run())

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
        if self._reason is None and self._error is None and cancelled is None and self._value is not _NOTHING:
            return self._value  # type: ignore[no-any-return]  # the coroutine's
        if not self._task.done():
            self._leave(self._task)
        failure, self._error = cancelled or self._find_failure(), None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure, cancelled  # it has this frame in its traceback: no cycle is left for the collector
        return self._value  # type: ignore[no-any-return]

    def give_up(self, reason: Reason) -> None:
        """End it for `reason`, unless it has ended or somebody said so before."""
        if self._reason is not None or self._ended.done():
            return
        self._reason = reason
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(GRACE_S, self._end)
        self._task.add_done_callback(self._end)  # one that has not begun never runs
        self._task.cancel()

    async def _run(self) -> None:
        try:
            self._value = await self._coroutine
        except SystemExit as error:
            self._error = Exited(error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:  # in the task's last step: a callback of it would come a round of the loop later
            self._end()

    def _end(self, task: asyncio.Task[Any] | None = None) -> None:
        if task is not None:
            self._coroutine.close()  # it was never awaited where the task was cancelled before its first step
        if not self._ended.done():
            self._ended.set_result(None)

    def _find_failure(self) -> BaseException | None:
        error, reason = self._error, self._reason
        if isinstance(error, Exited):
            return error
        if reason is not None:
            if self._value is not _NOTHING:
                return None
            given_up = GivenUp(reason)
            given_up.__cause__ = error
            return given_up
        if isinstance(error, asyncio.CancelledError):
            return WorkerError("it raised CancelledError, and nobody had cancelled it")
        return error or self._task.exception()
