"""`Lifetime`: how long a store may be used and by whom: in one loop, until it is closed, which somebody has to do."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Coroutine
from enum import Enum
from types import TracebackType
from typing import Any, TypeVar

from tidemill.errors import StateError

T = TypeVar("T")

GRACE_S = 5.0
"""How long closing waits for what is in flight, before that is cancelled."""


class _Phase(Enum):
    NEW = "not opened yet"
    OPEN = "open"
    CLOSING = "closed"
    CLOSED = "closed for good"


class Lifetime:
    """Counts what is in flight between opening and closing. Belongs to the loop that opens it.

    One that was opened and is collected before it was closed warns, in the process that opened it.

    Args:
        name: what messages call the store.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._phase = _Phase.NEW
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._uses: set[Use] = set()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """Bind it to the running loop: it may be used from now on.

        Raises:
            StateError: it was opened before.
        """
        if self._phase is not _Phase.NEW:
            hint = "`settings.open()` gives a new one each time"
            raise StateError("the store is opened once", where=self._name, hint=hint)
        self._loop = asyncio.get_running_loop()
        self._phase = _Phase.OPEN

    def use(self) -> Use:
        """What is in flight for the length of its `with`.

        Raises:
            StateError: the store is not open, or belongs to another loop.
        """
        if self._phase is not _Phase.OPEN:
            if self._phase is _Phase.NEW:
                hint = "`async with settings.open() as store:`"
                raise StateError("the store is used before it is opened", where=self._name, hint=hint)
            hint = "use it within its `async with`, or open it again: `settings.open()`"
            raise StateError("the store is used after it was closed", where=self._name, hint=hint)
        self.check_loop()
        return Use(self)

    def check_loop(self) -> None:
        """Check that this is the loop that opened it.

        Raises:
            StateError: it is another one.
        """
        if asyncio.get_running_loop() is not self._loop:
            hint = "open it in the loop that uses it: `async with settings.open() as store:`"
            raise StateError("the store belongs to another event loop", where=self._name, hint=hint)

    async def drain(self, grace_s: float = GRACE_S) -> None:
        """Let nothing begin any more, and wait until nothing is in flight; what still is after `grace_s` is cancelled.

        Whoever waits for that gets a `StateError`. Cancelling is raised once nothing is in flight, which it hurries.
        """
        self._phase = _Phase.CLOSING
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            for use in self._uses:
                use.cancel()
            await finish(self._idle.wait())

    def end(self) -> None:
        """Note that all it held is given back."""
        self._phase = _Phase.CLOSED

    def __del__(self) -> None:
        if self._phase in (_Phase.OPEN, _Phase.CLOSING) and self._pid == os.getpid():
            warnings.warn(f"the store {self._name} was never closed", ResourceWarning, stacklevel=2, source=self)


async def finish(ending: Coroutine[Any, Any, T]) -> T:
    """What `ending` gives, waited for whatever happens; cancelling is raised once it is done."""
    task = asyncio.ensure_future(ending)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # looked at: cancelling is what is told
        raise cancelled
    return task.result()


class Use:
    """One operation in flight, of the task that entered it."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._is_cancelled = False

    def cancel(self) -> None:
        """Break it off: it raises a `StateError`."""
        if self._task is not None and not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self._lifetime._uses.add(self)
        self._lifetime._idle.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lifetime = self._lifetime
        lifetime._uses.discard(self)
        if not lifetime._uses:
            lifetime._idle.set()
        if self._is_cancelled and self._task is not None:
            is_ours = self._task.uncancel() <= self._cancelling  # else it was cancelled by somebody besides
            if is_ours and isinstance(error, asyncio.CancelledError):
                message = "the store was closed while this was in flight, which may have landed"
                hint = "end what uses it within its `async with`"
                raise StateError(message, where=lifetime._name, hint=hint) from error
