"""Going through records in an event loop: they are read by a thread, in blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from operator import length_hint
from time import monotonic
from typing import Any, Generic, Self, TypeVar, cast

from tidemill.data.iteration import Records
from tidemill.data.parallel.gradients import call_in_mode, find_gradient_mode
from tidemill.data.records.origin import Origin
from tidemill.data.stages.progress import explain_again
from tidemill.protocols import State
from tidemill.resources.worker import WorkerThread

T = TypeVar("T")

BLOCK_RECORDS = 256
"""Records handed over at a time at most: a hand-over takes about 60 us, a state about 12."""

BLOCK_S = 0.002
"""Seconds after which a block is handed over as it is, so that a slow source's records come one by one."""

Open = Callable[[State | None], Records]
"""Opens the records at a state, or from the start."""


class AsyncRecords(Generic[T]):
    """What `aiterate` returns: an asynchronous iterator that knows where it stands.

    Blocks are read by a thread of its own, so that nothing of the pipeline runs in the loop. One that is left behind
    closes its file and ends its thread when it is dropped; `await aclose()` does so at once. A cancelled
    `anext` loses no record. Tasks: any of one loop; each record goes to one of them.
    """

    def __init__(self, open_at: Open, open_quietly: Open, state: State, *, block_records: int = BLOCK_RECORDS) -> None:
        self._reading = _Reading(open_at, open_quietly, state, block_records)
        self._worker: WorkerThread | None = None
        self._is_over = False
        self._pending: asyncio.Future[_Block] | None = None
        self._place = state  # in front of the block
        self._block = _Block([], [], state)
        self._link: Iterator[Any] = iter(())

    def __del__(self) -> None:
        worker = getattr(self, "_worker", None)
        if worker is not None:
            self._reading.is_stopped = True
            worker.close(wait=False, last=self._reading.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        for record in self._link:
            return cast(T, record)
        found = await self._read_on()
        if found is _END:
            raise StopAsyncIteration
        if type(found) is _Failed:
            del self  # what is raised has this frame in its traceback: files would stay open until it is dropped
            raise found.pop()
        return cast(T, found)

    def state(self) -> State:
        """Where the iterator stands, for `iterate` and `aiterate` alike: JSON, holding no records.

        Between two blocks it is that of the pipeline itself. Within one it is the state in front of the block and how
        many were given since: going on reads these again, 256 at most.
        """
        given = self._count_given()
        if given == len(self._block.records) and not self._block.failures:
            return self._block.state
        return {**self._place, "passed": given} if given else self._place

    async def explain(self) -> Origin:
        """Where the record given last came from: file, place in it, and the steps it went through.

        Within a block the records in front of it are read again, and the functions in front of them called again.
        """
        given = self._count_given()
        at_end = self._pending is None and given == len(self._block.records)
        worker = self._worker or WorkerThread("stream")
        try:
            return await worker.run(self._reading.explain, self._place, None if at_end else given)
        finally:
            if worker is not self._worker:
                worker.close(wait=False)

    async def aclose(self) -> None:
        """End the reading and close what is open; may be called twice. No record follows."""
        self._is_over = True
        self._link = iter(())
        worker, self._worker = self._worker, None
        if worker is not None:
            self._reading.is_stopped = True
            closing = worker.start(self._reading.close)
            worker.close(wait=False)
            await asyncio.shield(closing)

    async def _read_on(self) -> Any:
        """The next record out of the blocks to come, a failure, or the end."""
        while True:
            for record in self._link:
                return record
            if self._block.failures:
                failed = _Failed((self._block.failures.pop(),))
                self._place, self._block = self._block.state, _Block([], [], self._block.state)
                return failed
            if self._is_over:
                return _END
            await self._fetch()

    async def _fetch(self) -> None:
        if self._pending is None:
            if self._worker is None:
                self._worker = WorkerThread("stream")
            run, mode = copy_context().run, find_gradient_mode()
            self._pending = self._worker.start(run, call_in_mode, mode, self._reading.read, None)
        pending = self._pending
        block = await asyncio.shield(pending)
        if self._pending is not pending or self._is_over:
            return  # another task took it, or closed this
        self._pending = None
        self._place, self._block, self._link = self._block.state, block, iter(block.records)
        if block.is_last:
            self._is_over = True
            worker, self._worker = self._worker, None
            if worker is not None:
                worker.close(wait=False, last=self._reading.close)

    def _count_given(self) -> int:
        return len(self._block.records) - length_hint(self._link)


_END = object()


class _Failed(list[BaseException]):
    """A failure on its way to who asked; taken out of the list when it is raised."""


@dataclass(slots=True)
class _Block:
    """Some records in a row.

    Attributes:
        failures: what was raised behind them, if anything.
        state: the state behind all of that.
        is_last: there is nothing behind it.
    """

    records: list[Any]
    failures: list[BaseException]
    state: State
    is_last: bool = False


class _Reading:
    """The thread's side. Knows nothing of the iterator it reads for.

    Attributes:
        is_stopped: set when no more is wanted.
    """

    def __init__(self, open_at: Open, open_quietly: Open, state: State, limit: int) -> None:
        self.is_stopped = False
        self._open_at = open_at
        self._open_quietly = open_quietly
        self._state = state
        self._limit = limit
        self._records: Records | None = None

    def read(self, _: None) -> _Block:
        """The next block: until it is full or took its time, something fails, or the end."""
        block = _Block([], [], self._state)
        try:
            if self._records is None:
                block.is_last = True  # when it cannot be opened
                self._records = self._open_at(self._state)
                block.is_last = False
            block.is_last = self._fill(block.records, self._records)
        except BaseException as error:  # noqa: BLE001 - raised in the task that asked
            trace = error.__traceback__
            block.failures.append(error.with_traceback(trace and trace.tb_next))  # without this frame: it holds files
        if self._records is not None:
            block.state = self._state = self._records.state()
        return block

    def explain(self, place: State, given: int | None) -> Origin:
        """Where the record of this number behind `place` came from; None is for the last one that was read."""
        if given is None and self._records is not None:
            return self._records.explain()
        records = self._open_quietly(place)
        if not given:
            return records.explain()
        return explain_again(cast(Any, records), given - 1)

    def close(self) -> None:
        """Close what is open."""
        if self._records is not None:
            self._records.close()

    def _fill(self, held: list[Any], records: Iterator[Any]) -> bool:
        """Put records into `held`; whether there are no more."""
        stop_at = monotonic() + BLOCK_S
        for record in records:
            held.append(record)
            if len(held) == self._limit or monotonic() > stop_at or self.is_stopped:
                return False
        return True
