"""Coalescing: identical requests that are in flight at the same time are sent once."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

from tidemill.calls.lane import Lane
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import Reply, Send
from tidemill.calls.wire import Request, Response
from tidemill.errors import CallError, TidemillError

Commit = Callable[[Any, int], Awaitable[object]]


class _Flight:
    """One call on its way, and who waits for its reply, each with a commit of its own."""

    __slots__ = ("askers", "task")

    def __init__(self) -> None:
        self.askers: list[tuple[asyncio.Future[Any], Commit | None]] = []
        self.task: asyncio.Task[None] | None = None

    def waiting(self) -> list[tuple[asyncio.Future[Any], Commit | None]]:
        """Those who still wait, in the order in which they came."""
        return [asker for asker in self.askers if not asker[0].done()]


class Coalescing:
    """One lane's way out for requests whose reply is the same whoever asks, such as those at temperature 0.

    Requests with the same body that are in flight at the same time are one call of the lane: with one deadline, counted
    from its first send, and one bound on its attempts, whenever each of those who ask came to it. All get its reply,
    once each has committed it as its own: the first with the attempts it took, the others with 0; the slot is held
    until then. All fail as it does, each with an error of its own, and as one of the commits does. One who is cancelled
    leaves the others waiting; the call is cancelled with the last of them. A request that comes once the reply is there
    is sent again. Belongs to one loop.

    Args:
        lane: where requests go out.
        meter: where those that were not sent are counted.
    """

    def __init__(self, lane: Lane, meter: Meter) -> None:
        self._lane = lane
        self._meter = meter
        self._flying: dict[bytes, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], Reply],
        commit: Commit | None = None,
        *,
        send: Send | None = None,
    ) -> Any:
        """As `Lane.call`: the value of the answer, once it is committed. Of equal requests the first is sent."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        flight = self._flying.get(request.body)
        if flight is None:
            flight = self._flying[request.body] = _Flight()
            flight.task = task = loop.create_task(self._fly(flight, request, decode, send))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        flight.askers.append((reply, commit))
        try:
            return await reply
        except asyncio.CancelledError:
            await self._leave(flight, request)
            raise
        finally:
            del reply  # an error in it has a traceback that holds this frame: no cycle is left for the collector

    async def close(self) -> None:
        """End what is on its way and wait until it has ended; call it once nobody asks any more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _leave(self, flight: _Flight, request: Request) -> None:
        """End a call that nobody waits for any more, and wait until it has ended."""
        task = flight.task
        if task is None or task.done() or flight.waiting():
            return
        self._forget(flight, request)
        task.cancel()
        await asyncio.wait([task])

    def _forget(self, flight: _Flight, request: Request) -> None:
        """Let nobody join any more."""
        if self._flying.get(request.body) is flight:
            del self._flying[request.body]

    async def _fly(
        self, flight: _Flight, request: Request, decode: Callable[[Response], Reply], send: Send | None
    ) -> None:
        """Make the call, and tell those who wait what became of it."""

        async def commit_all(value: Any, attempts: int) -> None:
            self._forget(flight, request)  # whoever comes from here on would be committed apart
            await _commit_each(value, attempts, [commit for _, commit in flight.waiting()])

        try:
            value = await self._lane.call(request, decode, commit_all, send=send)
        except Exception as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            _fail(flight, error)
            return
        except BaseException:  # cancelled, with those who still wait for it
            for reply, _ in flight.waiting():
                reply.cancel()
            raise
        finally:
            self._forget(flight, request)
        waiting = flight.waiting()
        for reply, _ in waiting:
            reply.set_result(value)
        self._meter.coalesced += max(0, len(waiting) - 1)


async def _commit_each(value: Any, attempts: int, commits: list[Commit | None]) -> None:
    """Commit `value` as that of each, and wait for all of them, also where one fails."""
    begun = [commit(value, 0 if index else attempts) for index, commit in enumerate(commits) if commit is not None]
    if len(begun) == 1:
        await begun[0]
    elif begun:
        for result in await asyncio.gather(*begun, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


def _fail(flight: _Flight, error: Exception) -> None:
    """Tell each that the call failed; each but the first gets an error of its own, which it may add to."""
    for index, (reply, _) in enumerate(flight.waiting()):
        own = copy.copy(error) if index and isinstance(error, TidemillError) else error
        if index and isinstance(own, CallError):
            own.attempts = 0
        reply.set_exception(own)
