"""`Lifetime`: how long the calls of a client may go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill.config.wording.words import plain
from tidemill.errors import BudgetError


class Lifetime:
    """The time that a client has for all its calls, counted by the clock from here on. Of any thread and loop.

    Args:
        deadline_s: seconds; None for no end.
    """

    def __init__(self, deadline_s: float | None) -> None:
        self._deadline_s = deadline_s
        self._ends_at = None if deadline_s is None else time.monotonic() + deadline_s

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[None]:
        """What is awaited within is cancelled when the time is over.

        Raises:
            BudgetError: it is over.
        """
        if self._ends_at is None:
            yield
            return
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise self._end()
        timeout = asyncio.timeout(left_s)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise self._end() from None

    def _end(self) -> BudgetError:
        return BudgetError(
            f"the budget's deadline has passed, {plain(self._deadline_s or 0)} s from the client's opening",
            hint="open another client, with a longer budget.deadline if this one was too short",
        )
