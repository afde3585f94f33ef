"""Tasks of one loop that await a coroutine function: for what waits on the network."""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from tidemill.data.entering.entered import EnteredInLoop, needs_entering
from tidemill.data.entering.managers import explaining_leave
from tidemill.data.parallel.flight import Flight, wait_for
from tidemill.data.parallel.gradients import HeldMode
from tidemill.errors import WorkerError
from tidemill.resources.bridge import Bridge
from tidemill.resources.scope import Scope

Coroutine = Callable[[Any], Awaitable[Any]]


class TaskWorkers:
    """One task for each record, in a loop in a thread of its own.

    The loop is woken once for all records that were started while it was busy, and the consumer likewise: with many
    in flight no record pays for the way to another thread. The gradient mode is the loop's: that of the consumer when
    records were last started.
    """

    def __init__(self, fn: Any, step: str, *, awaits: bool) -> None:
        self._function = fn
        self._step = step
        self._awaits = awaits
        self._fn: Coroutine | None = None if needs_entering(fn) else self._prepare(fn)
        self._scope: Scope | None = None
        self._entering: asyncio.Lock | None = None
        self._started: deque[Flight] = deque()
        self._finished: queue.SimpleQueue[Flight] = queue.SimpleQueue()
        self._is_woken = False
        self._mode = HeldMode()
        self._bridge: Bridge | None = None

    def start(self, flight: Flight) -> None:
        self._started.append(flight)
        if not self._is_woken:
            self._wake()

    def wait(self) -> Flight:
        if self._started and not self._is_woken:  # waking it failed, or was interrupted
            self._wake()
        flight: Flight = wait_for(self._finished)
        return flight

    def close(self) -> None:
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            self._started.clear()
            bridge.call(self._mode.close)
            try:
                if self._entering is not None:
                    bridge.run(self._leave())
            finally:
                bridge.__exit__()

    def _wake(self) -> None:
        if self._bridge is None:
            # first: an interrupt can break off the waiting for its start, which goes on
            self._bridge = Bridge(calms_gc=False)
            try:
                self._bridge.__enter__()
            except RuntimeError:
                self._bridge = None
                raise
        self._is_woken = True
        self._bridge.call(self._create_tasks)

    def _create_tasks(self) -> None:
        self._is_woken = False  # first: what is started from here on wakes the loop again
        loop = asyncio.get_running_loop()
        started = self._started
        while started:
            flight = started.popleft()
            self._mode.hold(flight.mode)
            flight.task = loop.create_task(self._await(flight), context=flight.context)

    async def _await(self, flight: Flight) -> None:
        try:
            fn = self._fn or await self._enter()
            flight.value = await fn(flight.record)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                flight.error = WorkerError("the function was cancelled from within")
                raise
            flight.fail(error)
        finally:
            flight.task = None
            self._finished.put(flight)
            del flight  # an error holds this frame

    async def _enter(self) -> Coroutine:
        """The function, entered by the first record that needs it."""
        self._entering = self._entering or asyncio.Lock()
        async with self._entering:
            if self._fn is None:
                scope = await Scope().__aenter__()
                try:
                    self._fn = self._prepare(await EnteredInLoop(scope).enter(self._function, self._step))
                except BaseException as error:
                    await scope.__aexit__(type(error), error, error.__traceback__)
                    raise
                self._scope = scope
            return self._fn

    async def _leave(self) -> None:
        """Cancel what still runs, and leave what was entered."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        scope, self._scope = self._scope, None
        if scope is not None:
            with explaining_leave():
                await scope.__aexit__(None, None, None)

    def _prepare(self, fn: Callable[[Any], Any]) -> Coroutine:
        return fn if self._awaits else _check_awaitable(fn)


def _check_awaitable(fn: Callable[[Any], Any]) -> Coroutine:
    """`fn`, which is no coroutine function, as one: what it gives must be awaitable."""

    async def call(record: Any) -> Any:
        result = fn(record)
        if not inspect.isawaitable(result):
            raise WorkerError(
                f"expected something to await from the function, got a {type(result).__name__}",
                hint='make it an async function, or run it on="threads"',
            )
        return await result

    return call
