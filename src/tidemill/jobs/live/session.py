"""A session: what runs behind a live iterator, from its first record to its end."""

from __future__ import annotations

import asyncio
import copy
import random
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, NamedTuple, cast

from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.data.failing.failures import NO_RECORD, explain_failure
from tidemill.data.nodes.node import step_names
from tidemill.jobs.live.reader import LiveChunk, RecordsReader
from tidemill.jobs.live.section import Section
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.root import Mark, Root
from tidemill.jobs.window.entering import EnteredSteps
from tidemill.jobs.window.limits import WindowLimits
from tidemill.jobs.window.opening import count_workers, open_steps
from tidemill.jobs.window.window import Window
from tidemill.protocols import State
from tidemill.resources.bridge import Bridge
from tidemill.resources.releasing import raise_failures
from tidemill.resources.scope import Scope
from tidemill.resources.worker import THREAD_PREFIX, WorkerThread
from tidemill.stores.steps.opened import OpenStores

CLOSE_S = 5.0
"""Seconds a source may take to give the record at hand when the iteration is closed; then it is left behind."""


class Result(NamedTuple):
    """One record given, or the error in its place, and where the iterator then stands."""

    value: Any
    error: BaseException | None
    before: State
    rows: int
    children: int


class Session:
    """What runs behind a `LiveIterator`, on a loop of its own; knows nothing of the iterator, so that it can go."""

    def __init__(self, section: Section, state: State | None) -> None:
        self._section = section
        self._state = state
        self._held = ExitStack()
        self._bridge: Bridge | None = None
        self._scope = Scope()
        self._results: deque[Result] = deque()
        self._names = ("source", *step_names((*section.before, *section.steps))[len(section.before) :])
        self._skipping = {index for index, node in enumerate(section.steps, 1) if node.on_error == "skip"}
        self._slots = count_workers(section.steps)
        self._arrived: asyncio.Event
        self._window: Window
        self._running: asyncio.Task[None] | None = None
        self._chunk: LiveChunk | None = None
        self._rows = 0
        self._skip_children: int = state["children"] if state else 0

    def open(self) -> Iterator[Result]:
        """Start; the results as they come in order."""
        self._bridge = self._held.enter_context(Bridge())
        return self._bridge.iterate(self._next_batch)

    def close(self) -> None:
        """Cancel and release; from any thread but its own."""
        if self._bridge is not None:
            bridge, self._bridge = self._bridge, None
            with self._held:
                bridge.run(self._stop())

    def abandon(self) -> None:
        """Release what nobody holds any more: the collector may call this in any thread, also in one of its own."""
        if threading.current_thread().name.startswith(THREAD_PREFIX):
            threading.Thread(target=self.close, name=f"{THREAD_PREFIX}close").start()
        else:
            self.close()

    async def _start(self) -> None:
        section = self._section
        await self._scope.__aenter__()
        thread = WorkerThread("reader")
        self._scope.defer(lambda: thread.close(wait=False), name="reader thread")
        reader = await thread.run(RecordsReader, section, self._state)
        self._scope.defer_async(partial(_close_reader, reader, thread), name="source")
        engine = Engine(HttpTransport(), rng=random.Random())
        self._scope.defer_async(engine.close, name="engine")
        names = step_names((*section.before, *section.steps))[len(section.before) :]
        stores = OpenStores(self._scope, section.folder)
        entered = EnteredSteps()
        self._scope.defer_async(partial(_leave, entered), name="steps")
        nodes = await entered.enter(section.steps, names, stores)
        steps = open_steps(
            nodes, names, first=1, engine=engine, scope=self._scope, folder=section.folder, stores=stores
        )
        self._arrived = asyncio.Event()
        self._window = Window(
            lambda: thread.run(reader.next_chunk),
            steps,
            WindowLimits(workers=self._slots, records=8 * self._slots, demand=section.demand, grace_s=0.0),
            self._deliver,
            paused=lambda: len(self._results) >= self._slots,
            thread=entered.thread,
        )
        self._running = asyncio.create_task(self._window.run())
        self._running.add_done_callback(lambda _: self._arrived.set())

    async def _stop(self) -> None:
        if self._running is not None:
            self._window.stop(now=True)
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.exception()
        await self._scope.__aexit__(None, None, None)

    async def _next_batch(self) -> list[Result]:
        if self._running is None:
            await self._start()
        assert self._running is not None
        while not self._results and not self._running.done():
            self._arrived.clear()
            await self._arrived.wait()
        if not self._results:
            self._running.result()
        batch = [self._results.popleft() for _ in range(min(len(self._results), self._slots))]
        self._window.make_room()
        return batch

    def _deliver(self, entry: Root | Mark) -> None:
        if isinstance(entry, Mark):
            return
        chunk = cast(LiveChunk, entry.chunk)
        if chunk is not self._chunk:
            self._chunk, self._rows = chunk, chunk.skipped
        self._rows += 1
        given: list[tuple[Any, BaseException | None]] = [(record, None) for _, record in entry.landed]
        given += [(None, self._explain(each)) for each in entry.failures if each.step not in self._skipping]
        for number, (value, error) in enumerate(given, 1):
            if self._skip_children:
                self._skip_children -= 1
                continue
            rows, children = (self._rows, 0) if number == len(given) else (self._rows - 1, number)
            self._results.append(Result(value, error, chunk.before, rows, children))
        self._arrived.set()

    def _explain(self, failure: Failure) -> BaseException:
        record = failure.record if failure.step else NO_RECORD
        name = self._names[failure.step]
        error = explain_failure(failure.error, f"{name}.{failure.branch}" if failure.branch else name, record=record)
        return _copy_error(error) if error is failure.error else error


def _copy_error(error: BaseException) -> BaseException:
    """An equal error that nobody holds, or `error` itself where it is of a class that cannot be copied.

    Once it is raised, an error holds the iterator that it is raised from; one that is held by a frame in its traceback,
    a future or a function of the user's would keep it, and with it the model and the threads, when it is dropped.
    """
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001 - how it is copied is its class's, which may be a user's
        return error
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(error.__traceback__)


async def _leave(entered: EnteredSteps) -> None:
    await entered.leave()
    raise_failures(None, entered.failures, "several steps could not be left")


async def _close_reader(reader: RecordsReader, thread: WorkerThread) -> None:
    """Close the source in the thread that reads it, unless that is stuck in it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await thread.run(reader.close)
