"""Durable replies: committed in groups while running, found again after a crash or in an earlier run."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tidemill.calls.budget import Spend
from tidemill.errors import ResourceError
from tidemill.jobs.landing.sealer import iter_calls
from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import CallKey, FailedRow, pack_call, parse_call
from tidemill.jobs.records.root import Root
from tidemill.models.messages import Reply
from tidemill.resources.worker import WorkerThread

GROUP_S = 0.01
"""How long a group collects when few slots wait: one fsync serves all calls that end within it."""

CACHED_SEGMENTS = 2
"""Archives of an earlier run held at a time while its replies are looked up, and one more for each pass it went."""


class Journal:
    """Group commit of replies into the ledger.

    A group goes when the last one returned and either `GROUP_S` passed, or half the slots wait, or every call in
    flight. Made inside the loop it belongs to.

    Args:
        ledger: written only by `thread` while the run goes on.
        thread: the ledger's thread.
        run_pass: the pass its frames belong to.
        slots: how many calls may wait at once.
        totals: gives what is saved along with each group (the meter's counts).
        in_flight: how many calls are sent and not committed.
    """

    def __init__(
        self,
        ledger: Ledger,
        thread: WorkerThread,
        *,
        run_pass: int,
        slots: int,
        totals: Callable[[], Mapping[str, Any]],
        in_flight: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._thread = thread
        self._pass = run_pass
        self._half = max(1, slots // 2)
        self._totals = totals
        self._in_flight = in_flight
        self._loop = asyncio.get_running_loop()
        self._rows: list[bytes] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._last = -1
        self._lease: Spend | None = None
        self._busy: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.commits = 0

    def commit(self, number: int, row: bytes) -> Awaitable[None]:
        """Done once `row`, of the record `number`, is durable.

        Raises:
            ResourceError: the ledger could not be written.
        """
        self._rows.append(row)
        if number > self._last:
            self._last = number
        return self._wait()

    def commit_lease(self, lease: Spend) -> Awaitable[None]:
        """Done once `lease` is durable."""
        self._lease = lease
        return self._wait()

    async def drain(self) -> None:
        """Return once nothing waits."""
        while self._busy is not None or self._waiters:
            if self._busy is None:
                self._start()
            elif not self._busy.done():
                await asyncio.wait({self._busy})

    def _wait(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        if self._busy is None:
            self._start_soon()
        return waiter

    def _start_soon(self) -> None:
        """Start the next group now if half the slots wait for it, or all that are taken; else in a while."""
        if len(self._waiters) >= min(self._half, self._in_flight()):
            self._start()
        elif self._timer is None:
            self._timer = self._loop.call_later(GROUP_S, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._busy is None and self._waiters:
            self._busy = self._loop.create_task(self._commit_group())

    async def _commit_group(self) -> None:
        rows, self._rows = self._rows, []
        waiters, self._waiters = self._waiters, []
        last, self._last = self._last, -1
        meta = dict(self._totals())
        if self._lease is not None:
            meta["lease"] = self._lease.to_dict()
            self._lease = None
        error: BaseException | None = None
        try:
            await self._thread.run(self._ledger.append, self._pass, last, b"\n".join(rows), meta)
            self.commits += 1
        except BaseException as exc:  # noqa: BLE001 - handed to those who wait for the commit
            error = explain_disk(exc) if isinstance(exc, (sqlite3.Error, OSError)) else exc
        finally:
            self._busy = None
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        if isinstance(error, asyncio.CancelledError):
            raise error
        if self._waiters:
            self._start_soon()


def explain_disk(error: Exception) -> ResourceError:
    """What a failed durable operation means for the user."""
    explained = ResourceError(
        f"the run cannot be written: {error}",
        hint="make room on the disk (or mend it) and run again: everything committed is kept",
    )
    explained.__cause__ = error
    return explained


class LedgerReplies:
    """The window's reply store: what the ledger holds from before, and the journal for what is new.

    Args:
        frames: the frames left by a run that died.
        journal: where new replies go.
        old: an earlier run whose replies may be used.
    """

    def __init__(self, frames: Iterable[bytes], journal: Journal, old: OldReplies | None = None) -> None:
        self._journal = journal
        self._old = old
        self._known: dict[CallKey, tuple[str, list[Any], bytes]] = {}
        for frame in frames:
            for line in frame.split(b"\n"):
                key, digest, reply, _ = parse_call(line)
                self._known[key] = (digest, reply, line)
        self.recalled = 0
        self.reused = 0

    def recall(self, root: Root, path: tuple[int, ...], step: str, number: int, digest: str) -> Reply | None:
        """The reply committed for just this call: same identity, step, call number and request."""
        if not self._known and self._old is None:
            return None
        key = (root.part, root.ordinal, path, step, number)
        known = self._known.pop(key, None)
        if known is not None and known[0] == digest:
            self.recalled += 1
            root.recalled += 1
            root.rows.append(known[2])
            return Reply.from_row(known[1])
        if self._old is not None:
            line = self._old.find(key, digest)
            if line is not None:
                self.reused += 1
                root.rows.append(line)
                return Reply.from_row(parse_call(line)[2])
        return None

    def commit(
        self, root: Root, path: tuple[int, ...], step: str, number: int, digest: str, reply: Reply, attempts: int
    ) -> Awaitable[None]:
        """Done once the reply is durable."""
        row = pack_call((root.part, root.ordinal, path, step, number), digest, reply.to_row(), attempts)
        root.rows.append(row)
        return self._journal.commit(root.number, row)


class OldReplies:
    """The replies of an earlier run, looked up in its archives and ledger with flat memory.

    A segment's archive is loaded when a record of its range comes up, and a few are kept: both runs go through
    their source in the same order. The reply of a call that led to a failed outcome is never given.
    """

    def __init__(self, folder: RunFolder, segments: Sequence[Mapping[str, Any]], frames: Iterable[bytes]) -> None:
        self._folder = folder
        self._segments = list(reversed(segments))  # a later segment's reply (a retry's) goes before an earlier one's
        self._loaded: OrderedDict[int, dict[CallKey, tuple[str, bytes]]] = OrderedDict()
        # Each pass goes through the identities in order: one archive of each is in use at a time, or two at its seam.
        self._most = CACHED_SEGMENTS + len({segment["pass"] for segment in segments})
        self._unsealed = _index(line for frame in frames for line in frame.split(b"\n"))

    def find(self, key: CallKey, digest: str) -> bytes | None:
        """The archived line of a call with this key and request."""
        part, ordinal = key[0], key[1]
        found = self._unsealed.get(key)
        if found is not None and found[0] == digest:
            return found[1]
        for segment in self._segments:
            span = segment["ranges"].get(part)
            if span is None or not span[0] <= ordinal <= span[1] or "calls" not in segment:
                continue
            found = self._load(segment).get(key)
            if found is not None and found[0] == digest:
                return found[1]
        return None

    def _load(self, segment: Mapping[str, Any]) -> dict[CallKey, tuple[str, bytes]]:
        number = segment["number"]
        loaded = self._loaded.get(number)
        if loaded is not None:
            self._loaded.move_to_end(number)
            return loaded
        failed = {(row.part, row.ordinal, row.path, row.name) for row in iter_failed(self._folder, segment)}
        lines = (line.rstrip(b"\n") for line in iter_calls(self._folder.call_part(number)))
        loaded = {key: value for key, value in _index(lines).items() if key[:4] not in failed}
        self._loaded[number] = loaded
        if len(self._loaded) > self._most:
            self._loaded.popitem(last=False)
        return loaded


def _index(lines: Iterable[bytes]) -> dict[CallKey, tuple[str, bytes]]:
    index = {}
    for line in lines:
        key, digest, _, _ = parse_call(line)
        index[key] = (digest, line)
    return index


def iter_failed(folder: RunFolder, segment: Mapping[str, Any], *, standing: bool = False) -> Iterator[FailedRow]:
    """The quarantine rows of a segment; with `standing`, only those no retry has taken up."""
    part = segment.get("quarantine")
    if part is None:
        return
    first = part["retired"] if standing else 0
    with open(folder.quarantine_part(segment["number"]), "rb") as lines:
        for position, line in enumerate(lines):
            if position >= first:
                yield FailedRow.from_line(line)
