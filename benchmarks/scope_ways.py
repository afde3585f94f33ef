"""Ways to do the same small thing, timed in turns in one process; see `scopes.py`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tables import render_table

Way = Callable[[int], object]
"""Does the thing so many times."""


@dataclass(frozen=True)
class Setting:
    """How long is measured.

    Attributes:
        times: how often the thing is done in a round.
        rounds: rounds of each way, in turns.
    """

    times: int = 200_000
    rounds: int = 9


def time_ways(ways: Mapping[str, Way], setting: Setting) -> dict[str, float]:
    """CPU nanoseconds each way takes a time, the loop around it taken off; the median of the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(setting.times // 10)  # what is done first also warms up
    for _ in range(setting.rounds):
        loop_ns = _time(_go_round, setting.times)
        for name, way in ways.items():
            taken[name].append(_time(way, setting.times) - loop_ns)
    return {name: statistics.median(each) for name, each in taken.items()}


def render_ways(found: Mapping[str, float], floor: str) -> str:
    """The medians as a table, each in units of `floor`'s too."""
    rows = [(name, f"{ns:,.0f}", f"{ns / found[floor]:.2f}x") for name, ns in found.items()]
    return render_table(("", "ns", f"of {floor}"), rows)


def _time(way: Way, times: int) -> float:
    started = time.process_time()
    way(times)
    return (time.process_time() - started) / times * 1e9


def _go_round(times: int) -> None:
    for _ in range(times):
        pass
