"""`Answers`: a model's replies to many prompts, read ahead by a bounded number of calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, cast

from tidemill.calls.outgoing import LaneStopped
from tidemill.errors import BudgetError, CallError, ResourceError
from tidemill.models.clients.feed import Feed
from tidemill.models.clients.session import Session
from tidemill.resources.worker import WorkerThread

T = TypeVar("T")

OnError = Literal["raise", "return"]


class Outcome(NamedTuple):
    """What became of one prompt; `is_last` where nothing comes behind it."""

    value: Any = None
    error: BaseException | None = None
    is_last: bool = False


Ask = Callable[[Any], Coroutine[Any, Any, Any]]
"""Asks one prompt, on the session's loop."""


class Answers(Generic[T]):
    """The answers to prompts, in their order or as they come; a plain and an async iterator.

    Nothing is read or called before the first is asked for. Prompts are read in a thread, and asked ahead of the
    answers that were taken by at most twice the window.

    Failure: raised in its place, and the next call goes on with the next prompt; or given there, with
    `on_error="return"`. A failure of all calls (credentials, budget, an endpoint gone) and one of the prompts' own
    iterator are raised, and end it.
    """

    def __init__(
        self,
        owner: object,
        open_session: Callable[[], Session],
        prompts: Iterable[Any],
        ask: Callable[[Session], Ask],
        *,
        window: int,
        ordered: bool,
        on_error: OnError,
    ) -> None:
        self._owner = owner  # whose going would close the session
        self._returns = on_error == "return"
        self._feed: Feed[Outcome] = Feed(
            open_session, lambda session: _Answering(session, prompts, ask(session), window=window, ordered=ordered)
        )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self._give(self._feed.take())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return self._give(await self._feed.atake())

    def close(self) -> None:
        """Cancel what is in flight, and close the prompts' iterator; may be called twice."""
        self._feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _give(self, outcome: Outcome) -> T:
        if outcome.is_last:
            self._feed.close()
        if outcome.error is not None and (outcome.is_last or not self._returns):
            raise outcome.error
        given: T = outcome.value if outcome.error is None else cast(T, outcome.error)
        return given


class _Answering:
    """Reads prompts and asks them, on the session's loop: the producer behind `Answers`.

    A thread of its own reads, as many prompts at a time as there is room for, and each is asked as soon as it is there.
    """

    def __init__(self, session: Session, prompts: Iterable[Any], ask: Ask, *, window: int, ordered: bool) -> None:
        self._session = session
        self._prompts = prompts
        self._ask = ask
        self._window = window
        self._ordered = ordered
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._done: dict[int, Outcome] = {}
        self._begun = 0
        self._given = 0
        self._has_ended = False
        self._source: Iterator[Any] | None = None
        self._read: deque[Any] = deque()
        self._is_told = False  # of what was read; the loop is woken once for all that comes until it looks
        self._running: asyncio.Task[None] | None = None

    async def next_batch(self) -> list[Outcome]:
        if self._running is None:
            self._running = self._session.start(self._run())
            self._running.add_done_callback(lambda _: self._arrived.set())
        while True:
            self._arrived.clear()
            batch = self._take_done()
            if batch:
                self._room.set()
                return batch
            if self._running.done():
                self._session.check_open()
                if not self._running.cancelled():  # by `close`, in another thread
                    self._running.result()  # raises what broke it
                return []
            await self._arrived.wait()

    def cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _take_done(self) -> list[Outcome]:
        batch: list[Outcome] = []
        if self._ordered:
            while self._given + len(batch) in self._done:
                batch.append(self._done.pop(self._given + len(batch)))
        else:
            batch += self._done.values()
            self._done.clear()
        self._given += len(batch)
        return batch

    async def _run(self) -> None:
        """Read and ask until the prompts end; then wait for what is in flight."""
        thread = WorkerThread("prompts")
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._read_all(thread, partial(self._begin, group))
                finally:
                    self._has_ended = True  # also where it is cancelled: what is read from now on is not asked
        finally:
            thread.close(wait=False, last=self._close_source)

    async def _read_all(self, thread: WorkerThread, begin: Callable[[], object]) -> None:
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, begin)
        error: BaseException | None = None
        while error is None:
            while self._begun - self._given >= self._window:
                self._room.clear()
                await self._room.wait()
            room = self._window - (self._begun - self._given)
            error = await thread.run(self._read_ahead, room, tell)
            begin()
        if not isinstance(error, StopIteration):  # told behind all others
            self._done[self._begun] = Outcome(error=error, is_last=True)
            self._begun += 1
        self._has_ended = True
        self._arrived.set()

    def _begin(self, group: asyncio.TaskGroup) -> None:
        """Ask what was read."""
        self._is_told = False
        while self._read and not self._has_ended:
            group.create_task(self._answer(self._begun, self._read.popleft()))
            self._begun += 1

    async def _answer(self, number: int, prompt: Any) -> None:
        try:
            outcome = Outcome(await self._ask(prompt))
        except Exception as exc:  # noqa: BLE001 - told in its place
            outcome = Outcome(error=exc, is_last=_ends_all(exc))
        self._done[number] = outcome
        self._arrived.set()

    def _read_ahead(self, room: int, tell: Callable[[], object]) -> BaseException | None:
        """Read so many prompts, in the thread; what ended them, if they have ended."""
        try:
            if self._source is None:
                self._source = iter(self._prompts)
            for _ in range(room):
                self._read.append(next(self._source))
                if not self._is_told:
                    self._is_told = True
                    tell()
        except (Exception, SystemExit, KeyboardInterrupt) as exc:  # noqa: BLE001 - told where they are taken, too
            return exc
        return None

    def _close_source(self) -> None:
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


def _ends_all(error: Exception) -> bool:
    """Whether no other prompt would fare better."""
    if isinstance(error, CallError):
        return error.of == "run"
    return isinstance(error, (BudgetError, ResourceError, LaneStopped))
