"""The window: records between the oldest unfinished and the newest read, run by workers on one loop.

Records finish in any order and leave in source order. Each worker takes one record through the record half;
the children of a `flat_map` are shared out among the workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

import msgspec.structs

from tidemill.calls.lane import Lane
from tidemill.calls.outgoing import LaneStopped, Send
from tidemill.calls.wire import Request
from tidemill.data.steps.functions import copy_record
from tidemill.errors import TidemillError
from tidemill.jobs.records.chunk import Chunk
from tidemill.jobs.records.counts import DROPPED, EMITTED, IN, PASSED
from tidemill.jobs.records.outcomes import Failure, is_failure_of_run
from tidemill.jobs.records.root import Mark, Path, Root
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.jobs.records.step import USER_ERRORS, Shape
from tidemill.jobs.window.entries import Entries
from tidemill.jobs.window.functions import Functions
from tidemill.jobs.window.limits import WindowLimits
from tidemill.jobs.window.steps import Gathering, IndexStep, PredictStep, WindowStep
from tidemill.models.steps.call import make_key
from tidemill.models.steps.calling import KEY_HEADER, Decode
from tidemill.models.steps.lines import Kept, Line
from tidemill.resources.worker import WorkerThread

GRACE_POLL_S = 0.02
"""How often a window being stopped looks whether anything is still on its way."""


class ReplyStore(Protocol):
    """Where replies are kept: what a durable run adds to the window."""

    def recall(self, root: Root, path: Path, step: str, number: int, digest: str) -> list[Any] | None:
        """The row of the reply committed earlier for just this call, noted as the root's again."""
        ...

    def commit(
        self, root: Root, path: Path, step: str, number: int, digest: str, reply: Kept, attempts: int
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
        thread: where functions are called that must be beside the loop; whoever gives it ends it.

    Attributes:
        in_progress: records that are worked on.
        has_built: whether the source ended, and the indexes of all that was put into stores were built then.

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
        thread: WorkerThread | None = None,
    ) -> None:
        self._next_chunk = next_chunk
        self._steps = steps
        self._limits = limits
        self._store = store
        self._first_number = first_number
        self._entries = Entries(
            limits,
            deliver,
            first_number=first_number,
            skipping=skipping,
            paused=paused,
            on_enough=self.stop,
        )
        self._ended = False
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._failure: BaseException | None = None
        self._functions = Functions(self._stop.is_set, thread)
        self._more: list[asyncio.Task[None]] = []
        self._at = [0] * len(steps)  # records in progress at each step, counted where some gather
        self._computing = [step.predictor.gathering for step in steps if isinstance(step, PredictStep)]
        self._indexing = [step for step in steps if isinstance(step, IndexStep)]
        for indexing in self._indexing:
            indexing.upserts.find_oldest = self._entries.find_oldest
        self._gatherings: list[Gathering] = []
        for position, step in enumerate(steps):
            gathering = step.gathering if step.function is None else None
            if gathering is not None:
                gathering.may_join = partial(self._may_join, position, gathering)
                self._gatherings.append(gathering)
        self.in_progress = 0
        self.has_built = False

    async def run(self) -> None:
        """Run until the source ends, `stop` was called, or the run fails.

        Raises:
            Exception: the first failure of the run; every record finished before it was delivered.
        """
        feeder = asyncio.create_task(self._feed())
        workers = [asyncio.create_task(self._work()) for _ in range(self._limits.workers)]
        work: asyncio.Future[Any] = asyncio.create_task(self._finish(asyncio.gather(feeder, *workers)))
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
            tasks = (feeder, *workers, *self._more, work, stop, now)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._functions.close()
        if self._failure is not None:
            raise self._failure

    def stop(self, *, now: bool = False) -> None:
        """Start nothing new; what is in flight gets the grace period, or none when `now`."""
        self._stop.set()
        for lane in self._iter_lanes():
            lane.stop()
        for gathering in self._computing:
            gathering.stop()
        if now:
            self._stop_now.set()
        self._entries.close()

    def widen(self, workers: int) -> None:
        """Work on at least so many records at once from now on; called while `run` goes on."""
        more = workers - self._limits.workers
        if more > 0 and not self._stop.is_set():
            self._limits = self._entries.limits = replace(self._limits, workers=workers)
            self._more += [asyncio.create_task(self._work()) for _ in range(more)]
            self.make_room()

    def make_room(self) -> None:
        """Say that what paused the reading may be over."""
        if not self._entries.is_full():
            self._entries.room.set()

    @property
    def admitted(self) -> int:
        """Records taken in so far."""
        return self._entries.number - self._first_number

    def _iter_lanes(self) -> Iterator[Lane]:
        """The lanes of its steps; those of an agent's tools come to be while it runs."""
        for step in self._steps:
            if step.function is None:
                yield from step.lanes

    def _is_awaited(self) -> bool:
        """Whether a call is on its way, or a function or a model at work: all that a grace period is for."""
        if self._functions.working or any(lane.sending for lane in self._iter_lanes()):
            return True
        return any(gathering.working for gathering in self._computing)

    async def _finish(self, work: Awaitable[object]) -> None:
        """Await `work`, which goes through the records, and build the indexes of the stores that they were put into."""
        await work
        if self._stop.is_set():
            return
        for step in self._indexing:
            try:
                await step.build()
            except LaneStopped:
                return
        self.has_built = True

    async def _feed(self) -> None:
        entries = self._entries
        try:
            while not self._stop.is_set():
                if entries.is_full():
                    entries.room.clear()
                    await entries.room.wait()
                    continue
                chunk = await self._next_chunk()
                if chunk is None:
                    break
                entries.admit(chunk)
        except Exception as exc:  # noqa: BLE001 - whatever the source raised stops the run, after what is in flight
            self._fail(exc)
        finally:
            self._ended = True
            entries.wake(len(entries.idle))

    async def _work(self) -> None:
        entries = self._entries
        ready = entries.ready
        while True:
            while not ready:
                if self._stop.is_set() or (self._ended and not self.in_progress):
                    entries.wake(len(entries.idle))
                    return
                waiter = asyncio.get_running_loop().create_future()
                entries.idle.append(waiter)
                await waiter
            root, path, record, step, size_bytes = ready.popleft()
            if len(ready) == self._limits.workers:
                entries.room.set()
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
        entries = self._entries
        for position in range(start, len(self._steps)):
            step = self._steps[position]
            counts = root.chunk.counts[step.index]
            counts[IN] += 1
            result: Any
            lent = record
            if self._gatherings:
                self._at[position] += 1
            try:
                if isinstance(step, IndexStep):
                    result = await step.run(record, (root.order, path))
                elif step.function is None:
                    result = await step.run(record, partial(self._ask, root, path, step.name))
                else:
                    lent = copy_record(record)
                    result = await self._functions.apply(step.index, step.function, lent)
            except LaneStopped:
                raise
            except USER_ERRORS as exc:
                if isinstance(exc, TidemillError) and is_failure_of_run(exc):
                    exc.step = exc.step or step.name
                    raise
                branch = step.find_branch(exc)
                entries.note_failure(root, Failure(step.index, step.explain(exc), record, path=path, branch=branch))
                entries.finish(root, estimate_bytes(record) - size_bytes)
                return
            finally:
                if self._gatherings:
                    self._leave(position)
            if step.function is None or step.shape is Shape.ONE:
                record = result
            elif not result:
                counts[DROPPED] += 1
                root.dropped += 1
                entries.finish(root, -size_bytes)
                return
            elif step.shape is Shape.MANY:
                path, record = entries.share_out(root, path, result, position + 1)
                counts[EMITTED] += len(result) - 1
            else:
                record = lent
            counts[PASSED] += 1
            counts[EMITTED] += 1
        root.landed.append((path, record))
        entries.finish(root, estimate_bytes(record) - size_bytes)

    def _leave(self, position: int) -> None:
        """Note that a record is through the step at `position`: the batches that waited for it may go."""
        self._at[position] -= 1
        for gathering in self._gatherings:
            gathering.look_soon()

    def _may_join(self, position: int, gathering: Gathering) -> bool:
        """Whether a record that is read may still come to a batch of the step at `position`."""
        at = self._at
        if sum(at[:position]) + at[position] > gathering.held:
            return True
        return bool(self._entries.ready) and self.in_progress < self._limits.workers

    def _ask(
        self,
        root: Root,
        path: Path,
        step: str,
        line: Line,
        number: int,
        request: Request,
        send: Send | None = None,
        decode: Decode | None = None,
    ) -> Awaitable[Any]:
        """The reply to a request, from the store or by `line`; committed."""
        number += line.first
        decode = decode or line.decode
        if self._store is None and not line.is_keyed:
            return line.way.call(request, decode, send=send)
        digest = blake2b(request.body, digest_size=16).hexdigest()
        if line.is_keyed:
            key = make_key(root.part, root.ordinal, path, step, number, digest)
            request = msgspec.structs.replace(request, headers={**request.headers, KEY_HEADER: key})
        if self._store is None:
            return line.way.call(request, decode, send=send)
        row = self._store.recall(root, path, step, number, digest)
        if row is not None:
            return _give(line.load(row))
        commit = partial(self._store.commit, root, path, step, number, digest)
        return line.way.call(request, decode, commit, send=send)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self.stop()


async def _give(reply: Any) -> Any:
    return reply
