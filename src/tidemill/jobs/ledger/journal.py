"""The journal: replies committed in groups while a run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tidemill.calls.budget import Spend
from tidemill.jobs.ledger.database import Ledger
from tidemill.resources.worker import WorkerThread

GROUP_S = 0.01
"""How long a group collects when few slots wait: one fsync serves all calls that end within it."""


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
            error = exc
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
