"""What a window holds: the records from the oldest unfinished to the newest read, in source order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from tidemill.jobs.records.chunk import Chunk
from tidemill.jobs.records.counts import QUARANTINED, SKIPPED
from tidemill.jobs.records.outcomes import Failure, Redo
from tidemill.jobs.records.root import Mark, Path, Root
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.jobs.window.limits import WindowLimits

_TOLD = (Failure, Redo)
"""What stands in a chunk's rows in place of a record."""


class Entries:
    """The records of a window: taken in, handed to the workers, delivered in source order. Waits for nothing.

    Args:
        limits: how much may be held.
        deliver: called in source order with each finished `Root` and each `Mark`.
        first_number: the number of the first record.
        skipping: the steps whose failures are skipped instead of quarantined.
        paused: whether something outside wants nothing more to be read for now.
        on_enough: called once all that is in demand has landed.

    Attributes:
        limits: how much may be held from now on.
        ready: what workers take up next: root, path, record, step, and the size booked for it.
        idle: the workers that wait for more of it.
        room: set when reading may go on.
        number: the number the next record takes.

    Belongs to one loop.
    """

    def __init__(
        self,
        limits: WindowLimits,
        deliver: Callable[[Root | Mark], None],
        *,
        first_number: int,
        skipping: Collection[int],
        paused: Callable[[], bool],
        on_enough: Callable[[], None],
    ) -> None:
        self.limits = limits
        self._deliver = deliver
        self._skipping = frozenset(skipping)
        self._paused = paused
        self._on_enough = on_enough
        self._entries: deque[Root | Mark] = deque()
        self._waiting: deque[tuple[Chunk, deque[tuple[int, Any, int]]]] = deque()
        self._delivered = first_number
        self._held_bytes = 0
        self._unfinished = 0
        self._landed = 0  # counted where there is a demand
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self.ready: deque[tuple[Root, Path, Any, int, int]] = deque()
        self.idle: deque[asyncio.Future[None]] = deque()
        self.room = asyncio.Event()
        self.number = first_number

    def is_full(self) -> bool:
        """Whether nothing more may be read for now."""
        limits = self.limits
        if len(self.ready) > limits.workers or self._paused():
            return True
        if self._waiting:
            return True
        return self.number - self._delivered >= limits.records or self._held_bytes >= limits.size_bytes

    def find_oldest(self) -> int:
        """The number of the oldest record that is not finished, or of the next one where all are."""
        return next((entry.number for entry in self._entries if isinstance(entry, Root) and entry.pending), self.number)

    def admit(self, chunk: Chunk) -> None:
        """Take in what was read."""
        rows, chunk.rows = chunk.rows, []  # a record goes when its work is done, not when its chunk does
        self._waiting.append((chunk, deque(rows)))
        self._admit_waiting()

    def share_out(self, root: Root, path: Path, children: list[Any], step: int) -> tuple[Path, Any]:
        """Put all children but the first into the window; gives the first, with its path."""
        root.pending += len(children) - 1
        rest = [(root, (*path, i), child, step, estimate_bytes(child)) for i, child in enumerate(children) if i]
        size_bytes = sum(entry[-1] for entry in rest)
        root.size_bytes += size_bytes
        self._held_bytes += size_bytes
        self.ready.extendleft(reversed(rest))
        self.wake(len(rest))
        return (*path, 0), children[0]

    def note_failure(self, root: Root, failure: Failure) -> None:
        """Note that a descendant of `root` failed."""
        root.failures.append(failure)
        root.chunk.counts[failure.step][SKIPPED if failure.step in self._skipping else QUARANTINED] += 1

    def finish(self, root: Root, grown_bytes: int) -> None:
        """Note that one descendant of `root` came to its end, so much larger than was booked; deliver what can be."""
        root.pending -= 1
        if not root.pending:
            grown_bytes += sum(map(len, root.rows))
        root.size_bytes += grown_bytes
        self._held_bytes += grown_bytes
        if root.pending:
            return
        self._unfinished -= 1
        if self.limits.demand is not None:
            self._landed += len(root.landed)
            self._admit_waiting()
        elif root.failures:
            self._advance()  # at once: it may be what stops the run
        elif self._entries[0] is root and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._advance)

    def close(self) -> None:
        """Hand out nothing more: forget what nobody has taken up, and let all that wait look again."""
        self.ready.clear()
        self.room.set()
        self.wake(len(self.idle))

    def wake(self, count: int) -> None:
        """Let so many idle workers look again."""
        while count > 0 and self.idle:
            waiter = self.idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def _admit_waiting(self) -> None:
        """Take in what was read, as far as it is in demand."""
        demand = self.limits.demand
        before = len(self.ready)
        while self._waiting:
            chunk, rows = self._waiting[0]
            while rows and (demand is None or self._unfinished + self._landed < demand):
                self._admit_row(chunk, rows.popleft())
            if rows:
                break
            self._waiting.popleft()
            self._entries.append(Mark(chunk))
        self.wake(len(self.ready) - before)
        self._advance()
        if demand is not None and self._landed >= demand and not self._unfinished:
            self._on_enough()

    def _admit_row(self, chunk: Chunk, row: tuple[int, Any, int]) -> None:
        ordinal, record, size_bytes = row
        root = Root(chunk, self.number, ordinal, size_bytes)
        self.number += 1
        self._held_bytes += size_bytes
        self._entries.append(root)
        if not isinstance(record, _TOLD):
            self._unfinished += 1
            self.ready.append((root, (), record, 0, size_bytes))
        elif isinstance(record, Redo):
            self._admit_again(root, record)
        else:
            root.pending = 0
            self.note_failure(root, record)

    def _admit_again(self, root: Root, redo: Redo) -> None:
        self._unfinished += 1
        root.part = redo.part
        root.order = redo.order
        root.pending = len(redo.records)
        for path, record, step in redo.records:
            if isinstance(record, Failure):
                root.pending -= 1
                self.note_failure(root, record)
            else:
                self.ready.append((root, path, record, step, estimate_bytes(record)))
        if not root.pending:
            self._unfinished -= 1

    def _advance(self) -> None:
        """Deliver what is finished from the oldest on: all that a turn of the loop finishes, in one go."""
        self._is_due = False
        entries = self._entries
        while entries:
            entry = entries[0]
            if entry.pending:
                break
            if isinstance(entry, Root):
                self._delivered += 1
                self._held_bytes -= entry.size_bytes
                if len(entry.landed) > 1:
                    entry.landed.sort(key=_path_of)
            entries.popleft()
            self._deliver(entry)
        if not self.room.is_set() and not self.is_full():
            self.room.set()


def _path_of(landed: tuple[Path, Any]) -> Path:
    return landed[0]
