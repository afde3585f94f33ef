"""How late a loop comes to what is due: a timer of 5 ms beside everything else that runs there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

TIMER_S = 0.005


class LagProbe:
    """Times the loop it is run on.

    Attributes:
        lags_s: by how much each timer came too late.
    """

    def __init__(self) -> None:
        self.lags_s: list[float] = []

    async def beside(self, work: Awaitable[T]) -> T:
        """What `work` gives, the loop timed meanwhile."""
        probe = asyncio.ensure_future(self._probe())
        try:
            return await work
        finally:
            probe.cancel()

    async def _probe(self) -> None:
        while True:
            due_at = time.perf_counter() + TIMER_S
            await asyncio.sleep(TIMER_S)
            self.lags_s.append(time.perf_counter() - due_at)

    def percentiles_ms(self) -> dict[str, float]:
        """The lags by percentile, in milliseconds: `p50 p99 p100`; empty where nothing was timed."""
        ranked = sorted(self.lags_s)
        last = len(ranked) - 1
        return {f"p{percent}": 1e3 * ranked[round(last * percent / 100)] for percent in (50, 99, 100)} if ranked else {}
