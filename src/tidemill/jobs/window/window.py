"""The window: records between the oldest unfinished and the newest read, run by workers on one loop.

Records finish in any order and leave in source order. Each worker takes one record through the record half;
the children of a `flat_map` are shared out among the workers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar, Protocol

from tidemill.calls.lane import Lane, LaneStopped
from tidemill.calls.wire import Request
from tidemill.jobs.records.chunk import Chunk
from tidemill.jobs.records.counts import DROPPED, EMITTED, IN, PASSED, QUARANTINED, SKIPPED
from tidemill.jobs.records.outcomes import Failure, Redo, is_failure_of_run
from tidemill.jobs.records.root import Mark, Path, Root
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.jobs.records.step import USER_ERRORS, RecordStep, Shape, copy_record, exit_error
from tidemill.models.generate import Generator
from tidemill.models.messages import Reply
from tidemill.models.openai import parse_reply

GRACE_POLL_S = 0.02
"""How often a window being stopped looks whether anything is still on its way."""


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much the window may hold, and how many records are worked on at once.

    Attributes:
        workers: records in progress at most.
        records: records between the oldest unfinished and the newest read.
        size_bytes: their size, and that of what the steps make of them until it is delivered.
        demand: the most records wanted out of it, None for all; bounds the calls started.
        grace_s: seconds that calls in flight are given once the window is stopped.
    """

    workers: int = 64
    records: int = 2_000
    size_bytes: int = 64 << 20
    demand: int | None = None
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class FunctionStep:
    """A step of the record half that is a function of the record; `index` is its place in the counts."""

    index: int
    function: RecordStep
    shape: Shape

    generator: ClassVar[None] = None

    def explain(self, error: BaseException) -> BaseException:
        """What a failure of the function means."""
        return self.function.explain(error)


@dataclass(frozen=True, slots=True)
class GenerateStep:
    """A `generate` step with the lane its calls go through; `index` is its place in the counts."""

    index: int
    name: str
    generator: Generator
    lane: Lane

    shape: ClassVar[Shape] = Shape.ONE

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a validator of the user's may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)


WindowStep = FunctionStep | GenerateStep


class ReplyStore(Protocol):
    """Where replies are kept: what a durable run adds to the window."""

    def recall(self, root: Root, path: Path, step: str, number: int, digest: str) -> Reply | None:
        """The reply committed earlier for just this call, noted as the root's again."""
        ...

    def commit(
        self, root: Root, path: Path, step: str, number: int, digest: str, reply: Reply, attempts: int
    ) -> Awaitable[None]:
        """Done once the reply is durable."""
        ...


class Window:
    """Runs records through the record half.

    Args:
        next_chunk: gives the next chunk, None at the end; awaited by one task.
        steps: the record half.
        limits: how much may be held and worked on.
        deliver: called in source order with each finished `Root` and each `Mark`.
        store: where replies are kept; None keeps none.
        first_number: the number of the first record, counted over the life of the run.
        skipping: the steps, by their index in the counts, whose failures are skipped instead of quarantined.
        paused: asked before each chunk is read; while true nothing is read until `make_room` is called.

    Belongs to one loop. `run` may be cancelled: calls in flight are cancelled to the socket.
    """

    def __init__(
        self,
        next_chunk: Callable[[], Awaitable[Chunk | None]],
        steps: Sequence[WindowStep],
        limits: WindowLimits,
        deliver: Callable[[Root | Mark], None],
        *,
        store: ReplyStore | None = None,
        first_number: int = 0,
        skipping: Collection[int] = (),
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._next_chunk = next_chunk
        self._steps = steps
        self._lanes = [step.lane for step in steps if isinstance(step, GenerateStep)]
        self._limits = limits
        self._deliver = deliver
        self._store = store
        self._skipping = frozenset(skipping)
        self._paused = paused
        self._entries: deque[Root | Mark] = deque()
        self._ready: deque[tuple[Root, Path, Any, int, int]] = deque()
        self._waiting: deque[tuple[Chunk, tuple[int, Any, int] | None]] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._room = asyncio.Event()
        self._number = self._first_number = first_number
        self._held = 0
        self._held_bytes = 0
        self._unfinished = 0
        self._landed = 0
        self._ended = False
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._failure: BaseException | None = None
        self._awaiting = 0
        self.in_progress = 0

    async def run(self) -> None:
        """Run until the source ends, `stop` was called, or the run fails.

        Raises:
            Exception: the first failure of the run; every record finished before it was delivered.
        """
        feeder = asyncio.create_task(self._feed())
        workers = [asyncio.create_task(self._work()) for _ in range(self._limits.workers)]
        work: asyncio.Future[Any] = asyncio.gather(feeder, *workers)
        stop: asyncio.Future[Any] = asyncio.create_task(self._stop.wait())
        now: asyncio.Future[Any] = asyncio.create_task(self._stop_now.wait())
        try:
            await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
            ends_at = time.monotonic() + self._limits.grace_s
            while self._is_awaited() and time.monotonic() < ends_at and not (work.done() or now.done()):
                await asyncio.wait([work, now], timeout=GRACE_POLL_S, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            tasks = (feeder, *workers, stop, now)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, work, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    def stop(self, *, now: bool = False) -> None:
        """Start nothing new; what is in flight gets the grace period, or none when `now`."""
        self._stop.set()
        for lane in self._lanes:
            lane.stop()
        if now:
            self._stop_now.set()
        self._ready.clear()
        self._room.set()
        self._wake(len(self._idle))

    def _is_awaited(self) -> bool:
        """Whether a call is on its way, or a user's coroutine at work: all that a grace period is for."""
        return bool(self._awaiting) or any(lane.sending for lane in self._lanes)

    def make_room(self) -> None:
        """Say that what paused the reading may be over."""
        if not self._is_full():
            self._room.set()

    @property
    def admitted(self) -> int:
        """Records taken in so far."""
        return self._number - self._first_number

    # reading

    async def _feed(self) -> None:
        try:
            while not self._stop.is_set():
                if self._is_full():
                    self._room.clear()
                    await self._room.wait()
                    continue
                chunk = await self._next_chunk()
                if chunk is None:
                    break
                self._admit(chunk)
        except Exception as exc:  # noqa: BLE001 - whatever the source raised stops the run, after what is in flight
            self._fail(exc)
        finally:
            self._ended = True
            self._wake(len(self._idle))

    def _is_full(self) -> bool:
        limits = self._limits
        if len(self._ready) > limits.workers or self._paused():
            return True
        if self._waiting:
            return True
        return self._held >= limits.records or self._held_bytes >= limits.size_bytes

    def _admit(self, chunk: Chunk) -> None:
        rows, chunk.rows = chunk.rows, []  # a record goes when its work is done, not when its chunk does
        self._waiting.extend((chunk, row) for row in rows)
        self._waiting.append((chunk, None))
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        """Take in what was read, as far as it is in demand."""
        demand = self._limits.demand
        started = 0
        while self._waiting:
            chunk, row = self._waiting[0]
            if row is not None and demand is not None and self._unfinished + self._landed >= demand:
                break
            self._waiting.popleft()
            if row is None:
                self._entries.append(Mark(chunk))
            else:
                self._admit_row(chunk, *row)
                started += 1
        self._wake(started)
        self._advance()
        if demand is not None and self._landed >= demand and not self._unfinished:
            self.stop()

    def _admit_row(self, chunk: Chunk, ordinal: int, record: Any, size_bytes: int) -> None:
        root = Root(chunk, self._number, chunk.part, ordinal, size_bytes)
        self._number += 1
        self._held += 1
        self._held_bytes += size_bytes
        self._entries.append(root)
        if isinstance(record, Failure):
            root.pending = 0
            self._note_failure(root, record)
            return
        self._unfinished += 1
        if isinstance(record, Redo):
            self._admit_again(root, record)
        else:
            self._ready.append((root, (), record, 0, size_bytes))

    def _admit_again(self, root: Root, redo: Redo) -> None:
        root.part = redo.part
        root.pending = len(redo.records)
        for path, record, step in redo.records:
            if isinstance(record, Failure):
                root.pending -= 1
                self._note_failure(root, record)
            else:
                self._ready.append((root, path, record, step, estimate_bytes(record)))
        if not root.pending:
            self._unfinished -= 1

    def _wake(self, count: int) -> None:
        while count > 0 and self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    # working

    async def _work(self) -> None:
        ready = self._ready
        while True:
            while not ready:
                if self._stop.is_set() or (self._ended and not self.in_progress):
                    self._wake(len(self._idle))
                    return
                waiter = asyncio.get_running_loop().create_future()
                self._idle.append(waiter)
                await waiter
            root, path, record, step, size_bytes = ready.popleft()
            if len(ready) == self._limits.workers:
                self._room.set()
            self.in_progress += 1
            try:
                await self._run_record(root, path, record, step, size_bytes)
            except LaneStopped:
                pass
            except Exception as exc:  # noqa: BLE001 - a failure of the run: kept, raised once the rest has ended
                self._fail(exc)
            finally:
                self.in_progress -= 1

    async def _run_record(self, root: Root, path: Path, record: Any, start: int, size_bytes: int) -> None:
        """One record through the steps from `start` on; its first child goes on here, the others in the window.

        Args:
            size_bytes: what is booked for the record; at its end, what it has become takes the place of that.
        """
        for position in range(start, len(self._steps)):
            step = self._steps[position]
            counts = root.chunk.counts[step.index]
            counts[IN] += 1
            lent = copy_record(record) if step.generator is None else record
            result: Any
            try:
                if step.generator is not None:
                    result = await step.generator.run(lent, partial(self._ask, root, path, step))
                else:
                    result = await self._apply(step, lent)
            except LaneStopped:
                raise
            except USER_ERRORS as exc:
                if is_failure_of_run(exc):
                    raise
                self._note_failure(root, Failure(step.index, step.explain(exc), record, path=path))
                self._book(root, estimate_bytes(record) - size_bytes)
                self._finish(root)
                return
            record = lent
            if step.shape is Shape.ONE:
                record = result
            elif not result:
                counts[DROPPED] += 1
                root.dropped += 1
                self._book(root, -size_bytes)
                self._finish(root)
                return
            elif step.shape is Shape.MANY:
                path, record = self._share_out(root, path, result, position + 1)
                counts[EMITTED] += len(result) - 1
            counts[PASSED] += 1
            counts[EMITTED] += 1
        root.landed.append((path, record))
        self._book(root, estimate_bytes(record) - size_bytes)
        self._finish(root)

    def _book(self, root: Root, size_bytes: int) -> None:
        root.size_bytes += size_bytes
        self._held_bytes += size_bytes

    async def _apply(self, step: FunctionStep, record: Any) -> Any:
        function = step.function
        result = function.apply(record)
        if function.is_async:
            self._awaiting += 1
            try:
                result = await result
            finally:
                self._awaiting -= 1
        return list(function.iter_children(result)) if function.shape is Shape.MANY else result

    def _share_out(self, root: Root, path: Path, children: list[Any], step: int) -> tuple[Path, Any]:
        """Put all children but the first into the window; gives the first, with its path."""
        root.pending += len(children) - 1
        rest = [(root, (*path, i), child, step, estimate_bytes(child)) for i, child in enumerate(children) if i]
        self._book(root, sum(entry[-1] for entry in rest))
        self._ready.extendleft(reversed(rest))
        self._wake(len(rest))
        return (*path, 0), children[0]

    async def _ask(self, root: Root, path: Path, step: GenerateStep, number: int, request: Request) -> Reply:
        lane = step.lane
        if self._store is None:
            return await lane.call(request, parse_reply)
        digest = blake2b(request.body, digest_size=16).hexdigest()
        reply = self._store.recall(root, path, step.name, number, digest)
        if reply is not None:
            return reply
        return await lane.call(request, parse_reply, partial(self._store.commit, root, path, step.name, number, digest))

    # finishing

    def _note_failure(self, root: Root, failure: Failure) -> None:
        root.failures.append(failure)
        root.chunk.counts[failure.step][SKIPPED if failure.step in self._skipping else QUARANTINED] += 1

    def _finish(self, root: Root) -> None:
        root.pending -= 1
        if root.pending:
            return
        if root.rows:
            self._book(root, sum(map(len, root.rows)))
        self._unfinished -= 1
        self._landed += len(root.landed)
        if self._waiting or self._limits.demand is not None:
            self._admit_waiting()
        elif self._entries[0] is root:
            self._advance()

    def _advance(self) -> None:
        """Deliver what is finished from the oldest on."""
        entries = self._entries
        while entries:
            entry = entries[0]
            if isinstance(entry, Root):
                if entry.pending:
                    break
                self._held -= 1
                self._held_bytes -= entry.size_bytes
                if len(entry.landed) > 1:
                    entry.landed.sort(key=_path_of)
            entries.popleft()
            self._deliver(entry)
        if not self._room.is_set() and not self._is_full():
            self._room.set()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self.stop()


def _path_of(landed: tuple[Path, Any]) -> Path:
    return landed[0]
