"""Plain iteration through a record half: calls in flight behind an ordinary iterator, nothing durable."""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from tidemill.calls.bridge import Bridge
from tidemill.calls.engine import Engine
from tidemill.calls.transport import HttpTransport
from tidemill.data.fingerprints import describe_node
from tidemill.data.iteration import Records, iterate
from tidemill.data.nodes import Node, Take, split_halves, step_names
from tidemill.jobs.counts import new_counts
from tidemill.jobs.outcomes import Failure
from tidemill.jobs.reader import CHUNK_SLOW_S, Chunk, SourceTotals
from tidemill.jobs.steps import count_slots, open_steps
from tidemill.jobs.window import Mark, Root, Window, WindowLimits
from tidemill.protocols import Growth, Source, State
from tidemill.resources.scope import Scope
from tidemill.resources.worker import WorkerThread

READ_AHEAD = 64
"""Records read at a time at most; a resumed iteration reads so many again."""

UNREAD_RESULTS = 1_000
"""Results that may wait for the consumer; reading pauses beyond."""


def iterate_all(source: Source, nodes: Sequence[Node], state: State | None = None, *, folder: Path) -> Records:
    """The records of `source` after `nodes`, calls included, from the start or from `state`.

    Each stretch of record-wise steps from a call on runs in a window of its own; what looks across records between
    them, and everything before the first call, runs as plain iterators. A `take` behind calls bounds the calls.
    """
    before, rest = split_halves(tuple(nodes))
    if not rest:
        return iterate(source, before, state)
    end = next((index for index, node in enumerate(rest) if not node.record_wise), len(rest))
    tail = rest[end:]
    demand = tail[0].count if tail and isinstance(tail[0], Take) else None
    live = LiveSource(source, before, rest[:end], demand=demand, folder=folder)
    return iterate_all(live, tail, state, folder=folder)


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
    when the iterator is dropped.
    """

    def __init__(self, source: LiveSource, state: State | None) -> None:
        self._live = _Live(source, state)
        self._batches: Iterator[_Result] | None = None
        self._state = state or {"source": None, "rows": 0, "children": 0}
        self._finalizer = weakref.finalize(self, self._live.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = self._live.open()
        result = next(self._batches, None)
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
        """Cancel what is in flight and release everything."""
        self._finalizer()


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
        """Cancel and release, from any thread."""
        if self._bridge is not None:
            bridge, self._bridge = self._bridge, None
            bridge.run(self._stop())
            self._held.close()

    async def _start(self) -> None:
        source = self._source
        await self._scope.__aenter__()
        reader = _RecordsReader(source, self._state)
        thread = WorkerThread("reader")
        self._scope.defer(reader.close, "source")
        self._scope.defer(thread.close, "reader thread")
        engine = Engine(HttpTransport(), rng=random.Random())
        self._scope.defer_async(engine.close, "engine")
        names = step_names((*source.before, *source.steps))[len(source.before) :]
        steps = await open_steps(source.steps, names, first=1, engine=engine, scope=self._scope, folder=source.folder)
        slots = count_slots(source.steps)
        self._arrived = asyncio.Event()
        self._window = Window(
            lambda: thread.run(reader.next_chunk),
            steps,
            WindowLimits(workers=slots, records=max(2_000, 8 * slots), demand=source.demand, grace_s=0.0),
            self._deliver,
            paused=lambda: len(self._results) >= UNREAD_RESULTS,
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
        batch = list(self._results)
        self._results.clear()
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
        self._ahead = max(1, self._skip)

    def next_chunk(self) -> LiveChunk | None:
        """The next records; those given before the state are read and left out."""
        before = self._records.state()
        rows: list[tuple[int, Any, int]] = []
        started = time.perf_counter()
        while len(rows) < self._ahead:
            try:
                rows.append((len(rows), next(self._records), 0))
            except StopIteration:
                break
            except Exception as exc:  # noqa: BLE001 - raised in its place, when the iteration comes to it
                rows.append((len(rows), Failure(0, exc), 0))
            if time.perf_counter() - started > CHUNK_SLOW_S and len(rows) >= self._skip:
                break
        if not rows:
            return None
        skipped, self._skip = self._skip, 0
        self._ahead = min(2 * self._ahead, READ_AHEAD)
        counts = new_counts(self._steps)
        return LiveChunk("live", rows[skipped:], None, SourceTotals(), counts, before, skipped)

    def close(self) -> None:
        """Close the source."""
        self._records.close()
