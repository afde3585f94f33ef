"""`HeldLoop`: what calls go out by, on a loop of its own in a thread beside whoever calls."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Generic, TypeVar

from tidemill.errors import ResourceError
from tidemill.resources.bridge import Bridge
from tidemill.resources.scope import Scope
from tidemill.resources.worker import THREAD_PREFIX

T = TypeVar("T")
H = TypeVar("H", bound="HeldLoop")


class SessionClosed(Exception):  # noqa: N818 - a word between a held loop and its holder, which opens another
    """The loop was closed before the call was begun."""


class HeldLoop(ABC):
    """What is opened once and kept open on a loop of its own. Knows nothing of its holder, so that this can go.

    `run`, `arun` and `call` may be used from any thread but its own.

    Attributes:
        pid: the process it runs in; a fork of it has none.
        is_closed: whether it is closed, or about to be.

    Raises (constructor): as `_open` does.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._state = threading.Condition()  # guards the two below
        self._users = 0
        self.is_closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scope = Scope()
        with ExitStack() as held:
            self._bridge = held.enter_context(Bridge(calms_gc=False))
            self._bridge.run(self._start())
            self._held = held.pop_all()

    @abstractmethod
    async def _open(self, scope: Scope) -> None:
        """Open what calls go out by, for as long as `scope` lasts."""

    def run(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """What the coroutine of `fn(*args)` gives, run on the session's loop.

        Raises:
            SessionClosed: nothing was begun.
            ResourceError: the session was closed meanwhile.
        """
        with self._use():
            return self._bridge.run(self._track(fn(*args)))

    async def arun(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """As `run`, awaited in another loop; cancelling it cancels the coroutine."""
        with self._use():
            return await self._bridge.arun(self._track(fn(*args)))

    def call(self, fn: Callable[..., object], *args: Any) -> None:
        """Have `fn(*args)` called in the session's loop soon, unless that is closed."""
        with suppress(SessionClosed), self._use():
            self._bridge.call(fn, *args)

    def close(self) -> None:
        """Cancel what is in flight and release everything; may be called twice, and in a fork, where it does nothing.

        Waits until whoever uses it has what became of that.
        """
        if self.pid != os.getpid():
            return
        with self._state:
            if self.is_closed:
                return
            self.is_closed = True
        with self._held:
            self._bridge.run(self._cancel())
            with self._state:
                self._state.wait_for(lambda: not self._users)
            self._bridge.run(self._scope.__aexit__(None, None, None))

    def abandon(self) -> None:
        """Release what nobody holds any more: the collector may call this in any thread, also in one of its own."""
        if threading.current_thread().name.startswith(THREAD_PREFIX):
            threading.Thread(target=self.close, name=f"{THREAD_PREFIX}close").start()
        else:
            self.close()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the session's loop, in which this is called, that closing ends as well."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def check_open(self) -> None:
        """Say to whoever waits for a call that was cancelled when it was the closing that did so.

        Raises:
            ResourceError: the session is closed, or about to be.
        """
        if self.is_closed:
            raise ResourceError(
                "the client was closed while a call was in flight", hint="close it when all calls have ended"
            )

    async def _start(self) -> None:
        await self._scope.__aenter__()
        try:
            await self._open(self._scope)
        except BaseException as exc:
            await self._scope.__aexit__(type(exc), exc, exc.__traceback__)
            raise

    async def _track(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await `coroutine`, so that closing can end it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await coroutine
        except asyncio.CancelledError:
            self.check_open()
            raise
        finally:
            self._tasks.discard(task)

    async def _cancel(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @contextmanager
    def _use(self) -> Iterator[None]:
        with self._state:
            if self.is_closed:
                raise SessionClosed
            self._users += 1
        try:
            yield
        finally:
            with self._state:
                self._users -= 1
                self._state.notify_all()


class Holder(Generic[H]):
    """Holds a loop open: opened by the first who asks, closed by `release`, or when the holder goes. Threads: any.

    Args:
        make: opens one.
    """

    def __init__(self, make: Callable[[], H]) -> None:
        self._make = make
        self._held: H | None = None
        self._finalizer: weakref.finalize[[], Holder[H]] | None = None

    def open(self) -> H:
        """The loop, opened if it is not."""
        with _lock:
            held = self._held
            if held is not None and held.pid != os.getpid():
                _left_behind.append(held)
                held = None
            if held is None or held.is_closed:
                held = self._held = self._make()
                self._finalizer = weakref.finalize(self, held.abandon)
            return held

    def release(self) -> None:
        """Close the loop, if there is one."""
        with _lock:
            held, self._held = self._held, None
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer.detach()
        if held is not None:
            held.close()

    def run(self, act: Callable[[H], Callable[..., Coroutine[Any, Any, T]]], *args: Any) -> T:
        """What the coroutine of `act(loop)(*args)` gives, run on the loop; one that is closed meanwhile opens anew."""
        while True:
            held = self.open()
            with suppress(SessionClosed):  # by another thread, in between: it is opened again
                return held.run(act(held), *args)

    async def arun(self, act: Callable[[H], Callable[..., Coroutine[Any, Any, T]]], *args: Any) -> T:
        """As `run`, awaited in the running loop."""
        while True:
            held = self.open()
            with suppress(SessionClosed):
                return await held.arun(act(held), *args)


_lock = threading.Lock()
"""Guards what holders hold, and the opening of each; held for as long as that takes, and never while one closes."""
_left_behind: list[HeldLoop] = []
"""Loops of a parent process, which a fork must neither use nor collect."""


def _renew_lock() -> None:
    """In a fork: another thread of the parent may have held the lock, and none is there to give it back."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
