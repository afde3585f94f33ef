"""How much a window may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much the window may hold, and how many records are worked on at once.

    Attributes:
        workers: records in progress at most.
        records: records between the oldest unfinished and the newest read.
        size_bytes: their size, and that of what the steps make of them until it is delivered.
        demand: the most records wanted out of it, None for all; bounds the calls started.
        grace_s: seconds that calls in flight are given once the window is stopped.
    """

    workers: int = 64
    records: int = 2_000
    size_bytes: int = 64 << 20
    demand: int | None = None
    grace_s: float = 10.0
