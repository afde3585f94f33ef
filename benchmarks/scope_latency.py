"""The rows of `scopes.py` about `tm.latency`: against a context manager as everybody writes it."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import tidemill as tm
from scope_ways import Setting, Way, render_ways, time_ways
from tables import Target

BY_HAND = "by hand"
BLOCK_US = 1.2

durations: defaultdict[str, list[float]] = defaultdict(list)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """What a script has: no failures, no nesting, and a list that grows."""
    started = time.perf_counter()
    try:
        yield
    finally:
        durations[name].append(time.perf_counter() - started)


def decorate(fn: Callable[[], None]) -> Callable[[], None]:
    """The same around a function."""

    @functools.wraps(fn)
    def call() -> None:
        with timed("function"):
            fn()

    return call


def nothing() -> None:
    """What is decorated."""


ours, theirs = tm.latency("function")(nothing), decorate(nothing)


def hold_by_hand(times: int) -> None:
    for _ in range(times):
        with timed("block"):
            pass
    durations.clear()


def hold(times: int) -> None:
    for _ in range(times):
        with tm.latency("block"):
            pass


def hold_within(times: int) -> None:
    with tm.latency("outer"):
        hold(times)


def hold_off(times: int) -> None:
    tm.latency.off()
    hold(times)
    tm.latency.on()


def call_by_hand(times: int) -> None:
    for _ in range(times):
        theirs()
    durations.clear()


def call(times: int) -> None:
    for _ in range(times):
        ours()


def call_off(times: int) -> None:
    tm.latency.off()
    call(times)
    tm.latency.on()


def call_bare(times: int) -> None:
    for _ in range(times):
        nothing()


WAYS: dict[str, Way] = {
    BY_HAND: hold_by_hand,
    "block": hold,
    "block in another": hold_within,
    "block, off": hold_off,
    "function by hand": call_by_hand,
    "function": call,
    "function, off": call_off,
    "function, not decorated": call_bare,
}


def measure_latency(setting: Setting) -> list[str]:
    """An empty block and a decorated function, on and off; gives what was not counted."""
    tm.latency.reset()
    found = time_ways(WAYS, setting)
    print(f"\nlatency blocks around nothing, {setting.times:,} at a time, median of {setting.rounds}")
    print(render_ways(found, BY_HAND))
    block_us = found["block"] / 1e3
    print(
        Target("empty latency block", f"{block_us:.2f} us", f"under {BLOCK_US:g} us", block_us < BLOCK_US), flush=True
    )
    wanted = setting.times // 10 + setting.rounds * setting.times
    counted = {path: each["count"] for path, each in tm.latency.to_dict().items()}
    return [
        f"{path}: {counted.get(path, 0):,} counted, not {wanted:,}"
        for path in ("block", "outer/block", "function")
        if counted.get(path) != wanted
    ]
