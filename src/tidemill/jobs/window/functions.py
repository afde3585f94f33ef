"""How a window calls its users' functions: quick ones on its loop, slow ones in a thread beside it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from tidemill.calls.outgoing import LaneStopped
from tidemill.jobs.records.step import RecordStep, Shape
from tidemill.resources.worker import WorkerThread

SLOW_S: Final = 0.005
"""A function that takes longer is called beside the loop: the way there and back takes 0.12 ms (docs/lab-notes.md)."""

_WEIGHT: Final = 8


class Functions:
    """Calls functions of records, one at a time, and learns which are slow.

    A function that holds the loop up lets good replies run into their time limits, which are then paid again. So one
    that takes `SLOW_S` on average is called in a thread; one that was slow only at first comes back. Coroutines
    are awaited. Belongs to one loop.

    Args:
        is_stopped: asked before a slow function is called; true ends its record with LaneStopped.
        thread: where slow functions are called, and those that must be; whoever gives it ends it. None makes one.

    Attributes:
        working: functions at work that the loop does not wait for in place: coroutines, and one slow function.
    """

    def __init__(self, is_stopped: Callable[[], bool], thread: WorkerThread | None = None) -> None:
        self._is_stopped = is_stopped
        self._mean_s: defaultdict[int, float] = defaultdict(float)
        self._turn = asyncio.Lock()
        self._thread = thread
        self._is_given = thread is not None
        self.working = 0

    async def apply(self, index: int, function: RecordStep, record: Any) -> Any:
        """What `function`, the step at `index`, makes of `record`; children as a list. Raises what it raises."""
        if function.is_async:
            self.working += 1
            try:
                result = await function.apply(record)
            finally:
                self.working -= 1
            return list(function.iter_children(result)) if function.shape is Shape.MANY else result
        if function.is_beside or self._mean_s[index] > SLOW_S:
            return await self._apply_beside(index, function, record)
        return self._call(index, function, record)

    def close(self) -> None:
        """End the thread, once what runs in it has ended; nobody waits for that."""
        if self._thread is not None and not self._is_given:
            self._thread.close(wait=False)

    async def _apply_beside(self, index: int, function: RecordStep, record: Any) -> Any:
        async with self._turn:
            if self._is_stopped():
                raise LaneStopped
            if self._thread is None:
                self._thread = WorkerThread("functions")
            self.working += 1
            try:
                return await self._thread.run(self._call, index, function, record)
            finally:
                self.working -= 1

    def _call(self, index: int, function: RecordStep, record: Any) -> Any:
        started = time.perf_counter()
        try:
            result = function.apply(record)
            return list(function.iter_children(result)) if function.shape is Shape.MANY else result
        finally:
            self._mean_s[index] += (time.perf_counter() - started - self._mean_s[index]) / _WEIGHT
