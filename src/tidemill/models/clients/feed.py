"""`Feed`: items made on a session's loop, taken in batches by plain Python or by another loop."""

from __future__ import annotations

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from tidemill.errors import StateError
from tidemill.models.clients.held import HeldLoop, SessionClosed

T = TypeVar("T")


class Producer(Protocol[T]):
    """Makes the items; lives on the session's loop."""

    async def next_batch(self) -> list[T]:
        """The next items, in order; none at the end."""
        ...

    def cancel(self) -> None:
        """End it: whatever is in flight is cancelled."""
        ...


class OneTask(ABC, Generic[T]):
    """A producer that is one task, which gives items as they come. Lives on the session's loop.

    Args:
        session: on whose loop it runs, and with which it ends.
    """

    def __init__(self, session: HeldLoop) -> None:
        self._session = session
        self._arrived = asyncio.Event()
        self._items: list[T] = []
        self._running: asyncio.Task[None] | None = None

    async def next_batch(self) -> list[T]:
        if self._running is None:
            self._running = self._session.start(self._run())
            self._running.add_done_callback(lambda _: self._arrived.set())
        while not (self._items or self._running.done()):
            self._arrived.clear()
            await self._arrived.wait()
        batch, self._items = self._items, []
        if not batch:
            self._session.check_open()
            if not self._running.cancelled():  # by `close`, in another thread
                self._running.result()  # raises what ended it
        return batch

    def cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _give(self, item: T) -> None:
        self._items.append(item)
        self._arrived.set()

    @abstractmethod
    async def _run(self) -> None:
        """Do the work, and `_give` each item; what this raises ends the items and is raised behind them."""


class Feed(Generic[T]):
    """Takes the items of a producer; nothing is opened before the first is asked for. Threads: any, one at a time.

    Dropped or closed before its end, it cancels what is in flight.

    Args:
        open_session: gives the session, opened if it is not.
        produce: makes the producer.
    """

    def __init__(self, open_session: Callable[[], HeldLoop], produce: Callable[[Any], Producer[T]]) -> None:
        self._open_session = open_session
        self._produce = produce
        self._ready: deque[T] = deque()
        self._source: tuple[HeldLoop, Producer[T]] | None = None
        self._is_closed = False
        self._finalizer: weakref.finalize[[HeldLoop, Callable[[], None]], Feed[T]] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything was asked for."""
        return self._source is not None

    def take(self) -> T:
        """The next item.

        Raises:
            StopIteration: there is none.
            StateError: the client was closed in between.
        """
        if not self._ready:
            self._fill()
        if not self._ready:
            self.close()
            raise StopIteration
        return self._ready.popleft()

    async def atake(self) -> T:
        """As `take`, awaited in another loop; raises `StopAsyncIteration` at the end."""
        if not self._ready:
            await self._afill()
        if not self._ready:
            self.close()
            raise StopAsyncIteration
        return self._ready.popleft()

    def close(self) -> None:
        """Cancel what is in flight, and forget what was not taken; may be called twice."""
        self._is_closed = True
        self._ready.clear()
        if self._finalizer is not None:
            self._finalizer()

    def _fill(self) -> None:
        if self._is_closed:
            return
        session, producer = self._begin()
        try:
            self._ready.extend(session.run(producer.next_batch))
        except BaseException as exc:
            self._break(exc)
            raise

    async def _afill(self) -> None:
        if self._is_closed:
            return
        session, producer = self._begin()
        try:
            self._ready.extend(await session.arun(producer.next_batch))
        except BaseException as exc:
            self._break(exc)
            raise

    def _begin(self) -> tuple[HeldLoop, Producer[T]]:
        if self._source is None:
            session = self._open_session()
            producer = self._produce(session)
            self._source = (session, producer)
            self._finalizer = weakref.finalize(self, _cancel, session, producer.cancel)
        return self._source

    def _break(self, error: BaseException) -> None:
        self.close()
        if isinstance(error, SessionClosed):
            raise StateError(
                "the client was closed before all was taken", hint="take all of it first, then close the client"
            ) from None


def _cancel(session: HeldLoop, cancel: Callable[[], None]) -> None:
    session.call(cancel)
