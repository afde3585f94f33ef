"""How a client of the benches is driven: warmed up, then so many calls at once, timed. Standard library only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from children import cpu_s, peak_rss_mb

WARM_UP = 64

Call = Callable[[int], Awaitable[object]]
"""Sends the prompt of a number; gives the text that was answered."""


async def drive(call: Call, calls: int, in_flight: int) -> dict[str, Any]:
    """What `calls` calls cost, `in_flight` at once, behind a warm-up that makes connections."""
    done = 0

    async def work() -> None:
        nonlocal done
        for number in numbers:
            text = await call(number)  # apart from the sum, which others change meanwhile
            done += bool(text)

    await asyncio.gather(*(call(number) for number in range(WARM_UP)))
    numbers = iter(range(calls))
    cpu, started = cpu_s(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    wall, cpu = time.perf_counter() - started, cpu_s() - cpu
    return {"calls": done, "cpu_s": cpu, "wall_s": wall, "peak_rss_mb": peak_rss_mb()}
