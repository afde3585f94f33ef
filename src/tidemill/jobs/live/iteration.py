"""Plain iteration through a record half: calls in flight behind an ordinary iterator, nothing durable."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from tidemill.calls.bridge import Bridge
from tidemill.calls.engine import Engine
from tidemill.calls.transport import HttpTransport
from tidemill.data.fingerprints import describe_node
from tidemill.data.iteration import Description, Records, describe_pipeline, iterate
from tidemill.data.nodes import Node, Take, split_halves, step_names
from tidemill.errors import StateError
from tidemill.jobs.records.chunk import CHUNK_SLOW_S, Chunk, SourceTotals
from tidemill.jobs.records.counts import new_counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.root import Mark, Root
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.jobs.records.step import USER_ERRORS, exit_error
from tidemill.jobs.window.limits import WindowLimits
from tidemill.jobs.window.steps import count_slots, open_steps
from tidemill.jobs.window.window import Window
from tidemill.protocols import Growth, Source, State
from tidemill.resources.scope import Scope
from tidemill.resources.worker import THREAD_PREFIX, WorkerThread

READ_AHEAD = 64
"""Records read at a time at most, and no more than the concurrency; a resumed iteration reads so many again."""

CLOSE_S = 5.0
"""Seconds a source may take to give the record at hand when the iteration is closed; then it is left behind."""


def iterate_all(source: Source, nodes: Sequence[Node], state: State | None = None, *, folder: Path) -> Records:
    """The records of `source` after `nodes`, calls included, from the start or from `state`.

    Each stretch of record-wise steps from a call on runs in a window of its own; what looks across records between
    them, and everything before the first call, runs as plain iterators. A `take` behind calls bounds the calls.

    Raises:
        DataError: the source has no parts.
        StateError: `state` belongs to another pipeline; names the step that changed.
    """
    describe = partial(describe_pipeline, source, tuple(nodes))
    return _iterate(source, tuple(nodes), state, folder, describe)


def _iterate(
    source: Source, nodes: tuple[Node, ...], state: State | None, folder: Path, describe: Callable[[], Description]
) -> Records:
    before, rest = split_halves(nodes)
    if not rest:
        return iterate(source, before, state, describe=describe)
    end = next((index for index, node in enumerate(rest) if not node.record_wise), len(rest))
    tail = rest[end:]
    demand = tail[0].count if tail and isinstance(tail[0], Take) else None
    live = LiveSource(source, before, rest[:end], demand=demand, folder=folder)
    return _iterate(live, tail, state, folder, describe)


class LiveSource:
    """Record-wise steps with calls over a source, as a source of one part."""

    def __init__(
        self, source: Source, before: Sequence[Node], steps: Sequence[Node], *, demand: int | None, folder: Path
    ) -> None:
        self.source = source
        self.before = tuple(before)
        self.steps = tuple(steps)
        self.demand = demand
        self.folder = folder

    def parts(self) -> Sequence[str]:
        """The one part."""
        self.source.parts()
        return ("live",)

    def open_part(self, part: str, state: State | None = None) -> LiveIterator:
        """The results, from the first or from `state`."""
        return LiveIterator(self, state)

    def decode_record(self, raw: bytes) -> Any:
        """What the source makes of `raw`."""
        return self.source.decode_record(raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """`same`: its own state says when something changed."""
        return "same"

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Unknown: results have no length."""
        return None

    def describe(self) -> dict[str, Any]:
        """The source and the steps as JSON."""
        steps = [describe_node(node) for node in (*self.before, *self.steps)]
        return {"source": self.source.describe(), "steps": steps}


class _Result(NamedTuple):
    """One record given, or the error in its place, and where the iterator then stands."""

    value: Any
    error: BaseException | None
    before: State
    rows: int
    children: int


class LiveIterator:
    """Gives the results in source order while calls are in flight; a `RecordIterator`.

    The loop, its thread and its connections are opened with the first record and closed at the end, by `close`, or
    when the iterator is dropped. Calls are made ahead of the consumer by a few times the concurrency at most.
    A failure of the run (credentials, an endpoint gone) ends it: asked again it raises the same. Threads: any, one at
    a time.
    """

    def __init__(self, source: LiveSource, state: State | None) -> None:
        self._live = _Live(source, state)
        self._results: Iterator[_Result] | None = None
        self._state = state or {"source": None, "rows": 0, "children": 0}
        self._failure: Exception | None = None
        self._finalizer = weakref.finalize(self, self._live.abandon)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._failure is not None:
            raise self._failure
        if self._results is None and self._finalizer.alive:
            self._results = self._live.open()
        try:
            result = next(self._results) if self._results is not None else None
        except StopIteration:
            result = None
        except BaseException as exc:
            self.close()
            self._failure = exc if isinstance(exc, Exception) else _interrupted()
            raise
        if result is None:
            self.close()
            raise StopIteration
        self._state = {"source": result.before, "rows": result.rows, "children": result.children}
        if result.error is not None:
            raise result.error
        return result.value

    def state(self) -> State:
        """Where the iterator stands: calls that were in flight are made again when it goes on from here."""
        return dict(self._state)

    def close(self) -> None:
        """Cancel what is in flight and release everything; may be called twice."""
        self._results = None
        if self._finalizer.detach() is not None:
            self._live.close()


def _interrupted() -> StateError:
    return StateError(
        "the iteration was interrupted, and its calls in flight cancelled",
        hint="go on with stream.iterate(iterator.state())",
    )


class _Live:
    """What runs behind a `LiveIterator`, on a loop of its own; knows nothing of the iterator, so that it can go."""

    def __init__(self, source: LiveSource, state: State | None) -> None:
        self._source = source
        self._state = state
        self._held = ExitStack()
        self._bridge: Bridge | None = None
        self._scope = Scope()
        self._results: deque[_Result] = deque()
        self._skipping = {index for index, node in enumerate(source.steps, 1) if node.on_error == "skip"}
        self._slots = count_slots(source.steps)
        self._arrived: asyncio.Event
        self._window: Window
        self._running: asyncio.Task[None] | None = None
        self._chunk: LiveChunk | None = None
        self._rows = 0
        self._skip_children: int = state["children"] if state else 0

    def open(self) -> Iterator[_Result]:
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
        source = self._source
        await self._scope.__aenter__()
        thread = WorkerThread("reader")
        self._scope.defer(lambda: thread.close(wait=False), "reader thread")
        reader = await thread.run(_RecordsReader, source, self._state)
        self._scope.defer_async(partial(_close_reader, reader, thread), "source")
        engine = Engine(HttpTransport(), rng=random.Random())
        self._scope.defer_async(engine.close, "engine")
        names = step_names((*source.before, *source.steps))[len(source.before) :]
        steps = await open_steps(source.steps, names, first=1, engine=engine, scope=self._scope, folder=source.folder)
        self._arrived = asyncio.Event()
        self._window = Window(
            lambda: thread.run(reader.next_chunk),
            steps,
            WindowLimits(workers=self._slots, records=8 * self._slots, demand=source.demand, grace_s=0.0),
            self._deliver,
            paused=lambda: len(self._results) >= self._slots,
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

    async def _next_batch(self) -> list[_Result]:
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
        given += [(None, failure.error) for failure in entry.failures if failure.step not in self._skipping]
        for number, (value, error) in enumerate(given, 1):
            if self._skip_children:
                self._skip_children -= 1
                continue
            rows, children = (self._rows, 0) if number == len(given) else (self._rows - 1, number)
            self._results.append(_Result(value, error, chunk.before, rows, children))
        self._arrived.set()


async def _close_reader(reader: _RecordsReader, thread: WorkerThread) -> None:
    """Close the source in the thread that reads it, unless that is stuck in it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await thread.run(reader.close)


@dataclass(slots=True)
class LiveChunk(Chunk):
    """A chunk that knows the source's state in front of it, and how many of its records were given before."""

    before: State = field(default_factory=dict)
    skipped: int = 0


class _RecordsReader:
    """Reads the iterator in front of a record half in chunks. Used by one thread at a time."""

    def __init__(self, source: LiveSource, state: State | None) -> None:
        self._records: Records = iterate_all(
            source.source, source.before, state["source"] if state else None, folder=source.folder
        )
        self._steps = len(source.steps) + 1
        self._skip: int = state["rows"] if state else 0
        self._most = min(READ_AHEAD, count_slots(source.steps))
        self._ahead = max(1, self._skip)

    def next_chunk(self) -> LiveChunk | None:
        """The next records; those given before the state are read and left out."""
        before = self._records.state()
        rows: list[tuple[int, Any, int]] = []
        started = time.perf_counter()
        while len(rows) < self._ahead:
            try:
                record = next(self._records)
                rows.append((len(rows), record, estimate_bytes(record)))
            except StopIteration:
                break
            except USER_ERRORS as exc:  # raised in its place, when the iteration comes to it
                error = exc if isinstance(exc, Exception) else exit_error(exc, "before the first call")
                rows.append((len(rows), Failure(0, error), 0))
            if time.perf_counter() - started > CHUNK_SLOW_S and len(rows) >= self._skip:
                break
        if not rows:
            return None
        skipped, self._skip = self._skip, 0
        self._ahead = min(2 * self._ahead, self._most)
        counts = new_counts(self._steps)
        return LiveChunk("live", rows[skipped:], None, SourceTotals(), counts, before, skipped)

    def close(self) -> None:
        """Close the source."""
        self._records.close()
