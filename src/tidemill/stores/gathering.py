"""`Gathering`: what is asked while something is under way goes together, next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Got = TypeVar("Got")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[Asked, Got]):
    key: Hashable
    weight: int
    asked: Asked
    answer: asyncio.Future[Got]


class Gathering(Generic[Asked, Got]):
    """Runs together what is asked with equal keys, first come first served. Belongs to one loop.

    Nothing waits for more to come: what is asked while no run is under way goes by itself at once. Cancelling takes
    what was asked out of the line; a run that is under way goes on, for those beside it. What a run raises is raised
    to all that are in it.

    Args:
        run: answers several, in order.
        most: how much weight goes together, unless one alone has more.
        slots: runs under way at once.
    """

    def __init__(self, run: Callable[[Sequence[Asked]], Awaitable[Sequence[Got]]], *, most: int, slots: int) -> None:
        self._run = run
        self._most = most
        self._slots = slots
        self._line: deque[_Waiting[Asked, Got]] = deque()
        self._runs: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Asked, *, weight: int, key: Hashable = None) -> Got:
        """What a run answers to `asked`."""
        answer: asyncio.Future[Got] = asyncio.get_running_loop().create_future()
        self._line.append(_Waiting(key, weight, asked, answer))
        self._start()
        return await answer

    async def close(self) -> None:
        """Break off what is under way, and wait until it has ended."""
        for task in self._runs:
            task.cancel()
        while self._runs:
            await asyncio.wait(self._runs)

    def _start(self) -> None:
        while len(self._runs) < self._slots and (together := self._take()):
            task = asyncio.get_running_loop().create_task(self._answer(together))
            self._runs.add(task)
            task.add_done_callback(self._end)

    def _take(self) -> list[_Waiting[Asked, Got]]:
        """The first in line, and those of its key that go along."""
        taken: list[_Waiting[Asked, Got]] = []
        left: deque[_Waiting[Asked, Got]] = deque()
        weight = 0
        for waiting in self._line:
            if waiting.answer.done():  # nobody waits for it any more
                continue
            if not taken or (waiting.key == taken[0].key and weight + waiting.weight <= self._most):
                taken.append(waiting)
                weight += waiting.weight
            else:
                left.append(waiting)
        self._line = left
        return taken

    async def _answer(self, together: list[_Waiting[Asked, Got]]) -> None:
        try:
            answers = await self._run([waiting.asked for waiting in together])
        except asyncio.CancelledError:
            for waiting in together:
                waiting.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to everybody who asked
            for waiting in together:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(together, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._runs.discard(task)
        self._start()
