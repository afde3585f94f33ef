"""`Purse`: what a run of an agent may still spend, and what the runs around it may."""

from __future__ import annotations

import asyncio

from tidemill.calls.budget import BudgetLedger, Pricing, Spend
from tidemill.calls.limits import Budget
from tidemill.calls.outgoing import TakenBackError
from tidemill.calls.wire import NOT_SENT, Request, Usage


class Spent(TakenBackError):  # noqa: N818 - a word between a run and its calls, no failure of either
    """The budget has no room for another attempt.

    Attributes:
        owner: the agent whose budget it is.
    """

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class Purse:
    """Holds each attempt against the budget of its agent, and against those of the agents that this one is within.

    Belongs to one loop. A deadline counts from here on.

    Args:
        owner: the agent's name.
        budget: of its run, or of its turns; None for no bound of its own.
        above: the purse of what is around it.

    Attributes:
        ends_at: by the loop's clock, when the first deadline passes, None where there is none; `ends_by`: whose it is.
    """

    def __init__(self, owner: str, budget: Budget | None, above: Purse | None = None) -> None:
        bounded = budget is not None and budget.bounds_spending
        own = [(owner, BudgetLedger(budget, durable=False))] if budget is not None and bounded else []
        self._ledgers: list[tuple[str, BudgetLedger]] = [*own, *(above._ledgers if above is not None else [])]
        self.ends_at: float | None = None if above is None else above.ends_at
        self.ends_by: str = owner if above is None else above.ends_by
        if budget is not None and budget.deadline is not None:
            ends_at = asyncio.get_running_loop().time() + budget.deadline
            if self.ends_at is None or ends_at < self.ends_at:
                self.ends_at, self.ends_by = ends_at, owner

    @property
    def is_open(self) -> bool:
        """Whether nothing bounds what is spent."""
        return not self._ledgers

    def reserve(self, request: Request, pricing: Pricing) -> Spend:
        """Reserve the most that an attempt can cost.

        Raises:
            Spent: there is no room.
            ConfigError: that has no bound.
        """
        ceiling = pricing.ceiling(request)
        held: list[BudgetLedger] = []
        for owner, ledger in self._ledgers:
            ledger.check_request(request)
            if not ledger.reserve(ceiling):
                for each in held:
                    each.release(ceiling)
                raise Spent(owner)
            held.append(ledger)
        return ceiling

    def recall(self, spent: Spend) -> None:
        """Count what was spent before this process began.

        Raises:
            Spent: there is no room for it.
        """
        for owner, ledger in self._ledgers:
            if not ledger.reserve(spent):
                raise Spent(owner)
            ledger.settle(spent, spent)

    def settle(self, ceiling: Spend, pricing: Pricing, usage: Usage | None) -> None:
        """An attempt was answered; of unknown usage it counts whole."""
        cost = None if usage is None else pricing.cost(usage)
        for _, ledger in self._ledgers:
            ledger.settle(ceiling, cost)

    def refuse(self, ceiling: Spend, status: int) -> None:
        """An attempt was answered by an error: below 500 nothing was computed for it, else it counts whole."""
        for _, ledger in self._ledgers:
            if status < 500:
                ledger.refuse(ceiling)
            else:
                ledger.settle(ceiling, None)

    def fail(self, ceiling: Spend, error: BaseException) -> None:
        """An attempt was not answered: it counts whole, unless it was never sent."""
        for _, ledger in self._ledgers:
            if isinstance(error, NOT_SENT):
                ledger.release(ceiling)
            else:
                ledger.settle(ceiling, None)
