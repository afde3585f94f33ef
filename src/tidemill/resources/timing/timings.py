"""What latency blocks came to: a tree of names, each with its count and durations; bounded, and safe in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from tidemill.errors import ConfigError
from tidemill.resources.timing.histogram import Histogram

MAX_TIMINGS: Final = 500
"""Paths that are told apart: a name made of a record's id would else take memory for each."""
MAX_DEPTH: Final = 16
"""Blocks within one another that are told apart: a recursive function would else be a path for each depth."""
OTHERS: Final = "(others)"
"""The path of all blocks beyond these bounds."""

SETTLED_AT: Final = 100
"""Durations that wait to be counted: counted together each takes 0.09 us, by itself 0.18 (docs/lab-notes.md)."""

Taken = tuple[tuple[str, ...], int, dict[str, Any]]
"""A path, how many of its blocks failed, and its histogram as `Histogram.to_dict` has it."""

_COLUMNS = ("count", "failed", "total_s", "p50_s", "p95_s", "p99_s", "max_s")


class Timing:
    """What the blocks of one path came to.

    Threads: any, since to append to a list is atomic, and so is to take from it.

    Attributes:
        path: the names of the blocks, the outermost first.
        clock: what the durations are measured by, in seconds.
        children: of the blocks entered within these, by name.
        pending: durations that are not counted yet.
        failing: those of them whose block was left with an error.
    """

    __slots__ = ("_failed", "_histogram", "_lock", "_tree", "children", "clock", "failing", "path", "pending")

    def __init__(self, tree: Timings, path: tuple[str, ...]) -> None:
        self.path = path
        self.clock = tree.clock
        self.children: dict[str, Timing] = {}
        self.pending: list[float] = []
        self.failing: list[float] = []
        self._tree = tree
        self._failed = 0
        self._histogram = Histogram()
        self._lock = threading.RLock()  # guards the two above; the collector may close a generator's block within it

    def find_child(self, name: str) -> Timing:
        """Of the blocks called `name` within these; of all others together, where there are too many.

        Raises:
            ConfigError: it is no name for a block.
        """
        return self.children.get(name) or self._tree.add(self, name)

    def settle(self) -> None:
        """Count what is pending."""
        failing, pending = _take_all(self.failing), _take_all(self.pending)
        with self._lock:
            self._failed += len(failing)
            self._histogram.add_all(pending)

    def add(self, failed: int, histogram: Histogram) -> None:
        """Count what came of blocks elsewhere."""
        with self._lock:
            self._failed += failed
            self._histogram.merge(histogram)

    def take(self) -> Taken | None:
        """What came of them so far, which is counted here no more; None where no block has ended."""
        if not (self.pending or self._histogram.buckets):
            return None
        self.settle()
        with self._lock:
            failed, histogram = self._failed, self._histogram
            self._failed, self._histogram = 0, Histogram()
        return self.path, failed, histogram.to_dict()

    def describe(self) -> dict[str, float] | None:
        """JSON of it, in seconds; None where no block has ended."""
        self.settle()
        with self._lock:
            found = self._histogram
            if not found.count:
                return None
            percentiles = (found.percentile_s(ratio) or 0.0 for ratio in (0.5, 0.95, 0.99))
            values = (found.count, self._failed, found.total_s, *percentiles, found.max_s)
        return dict(zip(_COLUMNS, values, strict=True))


class Timings:
    """All that a process, or a run, has timed.

    Args:
        clock: measures the durations, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.outermost = Timing(self, ())
        self._all: list[Timing] = []

    def add(self, parent: Timing, name: str) -> Timing:
        """A new child of `parent`, for blocks called `name`, unless there are too many."""
        if not name or "/" in name:
            raise ConfigError(
                f"expected a name, got {name!r}" if not name else f"expected a name without `/`, got {name!r}",
                where="tm.latency",
                hint="blocks within one another are joined by `/` in the report" if name else 'tm.latency("retrieve")',
            ) from None
        is_bounded = name != OTHERS or parent is not self.outermost
        if is_bounded and (len(parent.path) >= MAX_DEPTH or len(self._all) >= MAX_TIMINGS or parent.path == (OTHERS,)):
            return self.outermost.find_child(OTHERS)
        made = Timing(self, (*parent.path, name))
        found = parent.children.setdefault(name, made)  # atomic: another thread may have been as quick
        if found is made:
            self._all.append(made)
        return found

    def to_dict(self) -> dict[str, dict[str, float]]:
        """JSON: of each path `outer/inner`, its count, how many failed, and its total and percentiles in seconds."""
        ordered = sorted(self._all, key=lambda timing: timing.path)
        found = (("/".join(timing.path), timing.describe()) for timing in ordered)
        return {path: described for path, described in found if described is not None}

    def reset(self) -> None:
        """Count from zero again; blocks that are held now are counted when they end."""
        self.take()

    def take(self) -> list[Taken]:
        """All that was counted since the last time, for `put_timings` in another process."""
        return [taken for timing in tuple(self._all) if (taken := timing.take()) is not None]


def put_timings(taken: Iterable[Taken], parent: Timing) -> None:
    """Count what `Timings.take` gave, as that of blocks within `parent`."""
    for path, failed, histogram in taken:
        timing = parent
        for name in path:
            timing = timing.find_child(name)
        timing.add(failed, Histogram.from_dict(histogram))


def render_timings(described: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The lines of a table of what `Timings.to_dict` gave; none without any."""
    if not described:
        return []
    head = ("latency", *(name.removesuffix("_s") for name in _COLUMNS))
    rows = [(path, *(_show(name, found[name]) for name in _COLUMNS)) for path, found in described.items()]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [_align(row, widths) for row in (head, *rows)]


def show_seconds(seconds: float) -> str:
    """A duration in the unit that it is told in: `12.3 us`, `4.56 ms`, `7.89 s`, `1,234 s`."""
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    scale, unit = (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
    return f"{seconds * scale:.3g} {unit}"


def _show(name: str, value: float) -> str:
    return show_seconds(value) if name.endswith("_s") else f"{value:,}"


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    figures = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join((row[0].ljust(widths[0]), *figures))


def _take_all(durations: list[float]) -> list[float]:
    """The durations there were, each taken once however many threads take."""
    taken: list[float] = []
    pop, append = durations.pop, taken.append
    with suppress(IndexError):  # another thread has taken the rest
        for _ in range(len(durations)):
            append(pop())
    return taken
