"""A record in flight, and what its workers are to the window that keeps it."""

from __future__ import annotations

import asyncio
import queue
from contextvars import Context, copy_context
from typing import Any, Protocol

from tidemill.data.parallel.gradients import find_gradient_mode
from tidemill.resources.states.gradients import GradientMode

WAKE_S = 0.2
"""Seconds between two looks for a signal: one that comes just before a thread begins to wait does not wake it."""


class Flight:
    """One outcome of the stage in front on its way through a worker.

    Attributes:
        number: which outcome of the stage in front it is, counted from where this one was opened.
        value: what the function gave.
        error: what it raised, or what the stage in front did.
        came_failed: whether there is no record: the stage in front raised in its place.
        is_done: whether the window knows that it has finished.
        kept: the record as it came, where the function is given a copy of it.
        spot: where the record came from, not yet in words.
        counts: what the steps in front had given when it was read.
        context: the consumer's context variables, in a copy of its own.
        mode: the consumer's gradient mode.
        task: what awaits the function, in a loop.
        tries: worker processes that died of it.
    """

    __slots__ = (
        "came_failed", "context", "counts", "error", "is_done", "kept", "mode", "number", "record", "spot", "task",
        "tries", "value",
    )  # fmt: skip

    def __init__(
        self, number: int, record: Any, spot: Any, error: BaseException | None = None, *, counts: Any = ()
    ) -> None:
        self.number = number
        self.record = self.kept = record
        self.counts = counts
        self.value: Any = None
        self.error = error
        self.came_failed = self.is_done = error is not None
        self.spot = spot
        self.context: Context = copy_context()
        self.mode: GradientMode | None = find_gradient_mode()
        self.task: asyncio.Task[None] | None = None
        self.tries = 0

    def fail(self, error: BaseException) -> None:
        """Keep what the function raised, without the worker's own frame, which would hold this in a cycle."""
        traceback = error.__traceback__
        self.error = error.with_traceback(traceback.tb_next if traceback else None)


class Workers(Protocol):
    """What calls the function. Belongs to whoever consumes: no two calls at once."""

    def start(self, flight: Flight) -> None:
        """Have the function called for the record, and do not wait for it."""
        ...

    def wait(self) -> Flight:
        """One of those that have finished, waiting for it; each is given once. An interrupt loses none."""
        ...

    def close(self) -> None:
        """End what runs, and release everything; may be called twice."""
        ...


def wait_for(finished: queue.SimpleQueue[Any]) -> Any:
    """The next item, waiting for it; an interrupt breaks the waiting off."""
    while True:
        try:
            return finished.get(timeout=WAKE_S)
        except queue.Empty:
            continue
