"""Gathering: records that come to a model at the same time go through it together."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.calls.outgoing import LaneStopped
from tidemill.errors import TidemillError
from tidemill.models.torch.running.batch import Raised, Share, Size, TooLargeError
from tidemill.models.torch.running.replica import USER_ERRORS, Replica

MOST_TAKEN = 4
"""Batches on their way through a replica at most: one is made ready, two are on the device, one is taken apart."""

MOST_PARTIAL = 2
"""A batch that is not full goes to a replica with fewer than these: one computes, and the next is made ready."""


@dataclass(frozen=True, eq=False)
class _Waiter(Share):
    """One record's share, and who waits for its result."""

    result: asyncio.Future[Any]


class Gathering:
    """The way of records through the replicas of a model.

    A batch goes once it is full, as far as a replica takes one. What is not full goes when no more can join it, as far
    as `may_join` tells, and a replica would have nothing to do before long. No timer is waited for.

    What the model raises for a batch is that of its halves, down to the record that is to blame, which fails alone;
    a batch for which a device has no room goes in halves, and later ones are no larger. What is the run's failure is
    that of all. Belongs to one loop.

    Args:
        replicas: where batches are computed.
        step: the step's name, which failures of the run are told with.

    Attributes:
        may_join: asked while a batch is not full: whether a record that is on its way may still come.
        held: records that wait for their result.
    """

    def __init__(self, replicas: Sequence[Replica], step: str) -> None:
        self._replicas = replicas
        self._step = step
        self._waiting: deque[_Waiter] = deque()
        self._sent: set[asyncio.Task[None]] = set()
        self._looks = False
        self._is_stopped = False
        self.may_join: Callable[[], bool] = lambda: False
        self.held = 0

    @property
    def working(self) -> int:
        """Batches that are on their way through a replica."""
        return len(self._sent)

    async def run(self, value: Any, tokens: int) -> Any:
        """What the model gives for `value`.

        Args:
            tokens: how many it has; 0 where nobody counts.

        Raises:
            LaneStopped: `stop` was called before it was taken.
            Exception: as the model, or what is around it, failed for it.
        """
        if self._is_stopped:
            raise LaneStopped
        waiter = _Waiter(value, tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self.held += 1
        self.look_soon()
        try:
            return await waiter.result
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            raise
        finally:
            self.held -= 1

    def look_soon(self) -> None:
        """Send the batches that are due once this turn of the loop is over."""
        if self._waiting and not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look)

    def stop(self) -> None:
        """Take nothing more: what no replica has yet ends with LaneStopped."""
        self._is_stopped = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.result.done():
                waiter.result.set_exception(LaneStopped())

    async def close(self) -> None:
        """End the replicas, once what they compute has ended; call it once nobody asks any more."""
        for task in self._sent:
            task.cancel()
        if self._sent:
            await asyncio.wait(self._sent)
        results = await asyncio.gather(*(replica.close() for replica in self._replicas), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            raise failed[0]

    def _look(self) -> None:
        self._looks = False
        while self._waiting:
            replica = min(self._replicas, key=_read_taken)
            if replica.taken >= MOST_TAKEN:
                return
            batch = self._find_batch(replica.size)
            if batch is None:
                if replica.taken >= MOST_PARTIAL or self.may_join():
                    return
                batch = list(self._waiting)
            for _ in batch:
                self._waiting.popleft()
            self._send(replica, batch)

    def _find_batch(self, size: Size) -> list[_Waiter] | None:
        """The records that fill a batch; None where there are not as many."""
        if size.most_tokens is None and len(self._waiting) < size.most:
            return None
        batch: list[_Waiter] = []
        longest = 0
        for waiter in self._waiting:
            longest = max(longest, waiter.tokens)
            if batch and not size.fits(len(batch) + 1, longest):
                return batch
            batch.append(waiter)
        is_full = len(batch) >= size.most or (size.most_tokens is not None and longest * len(batch) >= size.most_tokens)
        return batch if is_full else None

    def _send(self, replica: Replica, batch: Sequence[_Waiter]) -> None:
        replica.taken += 1
        task = asyncio.get_running_loop().create_task(self._deliver(replica, batch))
        self._sent.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._sent.discard(task)
            replica.taken -= 1
            if not task.cancelled():
                task.result()  # everything is told to those who wait; what is left would be a fault of ours
            self.look_soon()

        task.add_done_callback(end)

    async def _deliver(self, replica: Replica, batch: Sequence[_Waiter]) -> None:
        """Compute the batch for those who still wait; each is told its result, or why there is none."""
        batch = [waiter for waiter in batch if not waiter.result.done()]
        if not batch:
            return
        try:
            results = await replica.run(batch)
        except TooLargeError:
            await self._deliver_halves(replica, batch)
        except USER_ERRORS as error:
            if isinstance(error, TidemillError) and error.of == "run":
                error.where = error.where or f"step `{self._step}`"
                error.step = error.step or self._step
                _fail(batch, error)
            elif len(batch) > 1:
                await self._deliver_halves(replica, batch)
            else:
                _fail(batch, error)
        else:
            for waiter, result in zip(batch, results, strict=True):
                if waiter.result.done():
                    continue
                if isinstance(result, Raised):
                    _fail([waiter], result.error)
                else:
                    waiter.result.set_result(result)

    async def _deliver_halves(self, replica: Replica, batch: Sequence[_Waiter]) -> None:
        half = len(batch) // 2
        await asyncio.gather(self._deliver(replica, batch[:half]), self._deliver(replica, batch[half:]))


def _read_taken(replica: Replica) -> int:
    return replica.taken


def _fail(batch: Sequence[_Waiter], error: BaseException) -> None:
    """Tell each that it failed; each gets an error of its own, which it may add to."""
    for waiter in batch:
        if not waiter.result.done():
            waiter.result.set_exception(error if len(batch) == 1 else copy.copy(error))
