"""Where calls wait for the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tidemill.calls.admission.line import Line
from tidemill.calls.budget import NOTHING, BudgetLedger, Spend

CommitLease = Callable[[Spend], Awaitable[object]]


class BudgetGate:
    """The budget, those who wait for it, and the one task that makes its next lease durable."""

    def __init__(self, ledger: BudgetLedger, commit_lease: CommitLease | None) -> None:
        self.ledger = ledger
        self._commit_lease = commit_lease
        self._line: Line[Spend, BaseException | None] = Line()
        self._task: asyncio.Task[None] | None = None

    def reserve(self, ceiling: Spend) -> bool:
        """Whether `ceiling` is reserved at once."""
        return not self._line and self.ledger.reserve(ceiling)

    async def wait(self, ceiling: Spend) -> None:
        """Until `ceiling` is reserved.

        Raises:
            BudgetError: the budget cannot take it, and nothing in flight may still give back.
            Exception: what committing the lease raised.
        """
        place = self._line.join(ceiling)
        self.serve()
        try:
            refused = await self._line.wait(place, partial(self._pass_on, ceiling))
        except asyncio.CancelledError:
            self.serve()
            raise
        if refused is not None:
            raise refused

    def _pass_on(self, ceiling: Spend, refused: BaseException | None) -> None:
        if refused is None:
            self.ledger.release(ceiling)

    def settle(self, ceiling: Spend, cost: Spend | None) -> None:
        """See `BudgetLedger.settle`."""
        self.ledger.settle(ceiling, cost)
        if self._line or self.ledger.is_low:
            self.serve()

    def refuse(self, ceiling: Spend) -> None:
        """See `BudgetLedger.refuse`."""
        self.ledger.refuse(ceiling)
        self.serve()

    def release(self, ceiling: Spend) -> None:
        """See `BudgetLedger.release`."""
        self.ledger.release(ceiling)
        self.serve()

    def serve(self) -> None:
        """Give those who wait what there is now, and widen the lease when it runs low."""
        while self._line:
            need = self._line.first
            if self.ledger.reserve(need):
                self._line.grant(None)
            elif self.ledger.judge(need) == "never":
                self._line.grant(self.ledger.refusal(need))
            else:
                break
        self._widen()

    def _widen(self) -> None:
        if self._commit_lease is None or self._task is not None:
            return
        waiting = NOTHING
        for need in self._line:
            waiting = waiting.plus(need)
        lease = self.ledger.next_lease(waiting)
        if lease is not None:
            self._task = asyncio.get_running_loop().create_task(self._commit(self._commit_lease, lease))

    async def _commit(self, commit_lease: CommitLease, lease: Spend) -> None:
        failure: Exception | None = None
        try:
            await commit_lease(lease)
        except Exception as exc:  # noqa: BLE001 - what the disk said goes to those who wait; with none, one asks again
            failure = exc
        self._task = None
        if failure is None:
            self.ledger.widen(lease)
            self.serve()
        else:
            self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        while self._line:
            self._line.grant(error)

    async def close(self) -> None:
        """Make what is really spent the lease; call it when nothing is in flight."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._commit_lease is not None and self.ledger.lease != self.ledger.final_lease():
            await self._commit_lease(self.ledger.final_lease())
            self.ledger.widen(self.ledger.final_lease())
