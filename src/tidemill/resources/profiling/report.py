"""`ProfileReport`: what the blocks of a profiler came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from tidemill.resources.profiling.spans import Figures
from tidemill.resources.timing.timings import show_seconds


@dataclass(frozen=True, slots=True)
class Times:
    """How long spans took on one side, in seconds; percentiles are at most 12 % above the exact ones."""

    total_s: float
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    max_s: float


@dataclass(frozen=True, slots=True)
class Batches:
    """What batches came to, or blocks without any.

    Attributes:
        count: how many there were.
        items: what went through them.
        host: from beginning to end, without waiting for a device.
        device: from what was queued first to what was queued last; None without a device.
        throughput_per_s: items a second of the busier side; None without items.
    """

    count: int
    items: int
    host: Times
    device: Times | None
    throughput_per_s: float | None

    @classmethod
    def of(cls, figures: Figures) -> Self:
        """What `figures` say."""
        host, device = figures.host, figures.device
        times = [
            Times(each.total_s, each.percentile_s(0.5), each.percentile_s(0.95), each.percentile_s(0.99), each.max_s)
            for each in (host, device)
        ]
        on_device = times[1] if device.count else None
        return cls(host.count, figures.items, times[0], on_device, figures.throughput_per_s)


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """What the blocks of a profiler came to.

    Attributes:
        blocks: how many were entered and left.
        elapsed_s: their time: of each the longer of host and device.
        batches: the measured ones; `warmup` those before them.
        peak_rss_bytes: the most memory this process has held so far; `peak_rss_growth_bytes` how much the blocks
            raised that: 0 where they stayed below what was held before.
        peak_device_bytes: the most that was in tensors, by device.
        modules: torch modules that were held in evaluation mode; `switched` those that were not in it before.
        gradients: what was recorded before, and within.
        inference_tensors: what modules keep since as inference tensors.
        compilations: graphs that torch compiled in batches; `recompilations` those of them behind the warm-up.
        clears: how often a device's cache was cleared, by device.
    """

    blocks: int
    elapsed_s: float
    batches: Batches
    warmup: Batches
    peak_rss_bytes: int
    peak_rss_growth_bytes: int
    peak_device_bytes: Mapping[str, int]
    modules: int
    switched: int
    gradients: str
    inference_tensors: tuple[str, ...]
    compilations: int
    recompilations: int
    clears: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{show_seconds(self.elapsed_s)} in {_count(self.blocks, 'block')}"]
        lines += _show_batches(self.batches, "batch")
        lines += _show_batches(self.warmup, "warm-up batch")
        rss = (
            f"{self.peak_rss_bytes / 1e6:.0f} MB on the host, {self.peak_rss_growth_bytes / 1e6:+.1f} MB in the blocks"
        )
        peaks = [rss, *(f"{peak / 1e6:.0f} MB on {name}" for name, peak in self.peak_device_bytes.items())]
        lines.append(f"peak memory: {', '.join(peaks)}")
        if self.modules:
            lines.append(f"{_count(self.modules, 'module')} in evaluation mode, {self.switched} switched and put back")
        if self.gradients:
            lines.append(f"gradients {self.gradients}, put back")
        if self.compilations:
            lines.append(f"{_count(self.compilations, 'graph')} compiled, {self.recompilations} again")
        lines += [f"cache of {name} cleared {_count(times, 'time')}" for name, times in self.clears.items()]
        if self.inference_tensors:
            lines.append(f"inference tensors kept: {', '.join(self.inference_tensors)}")
        return "\n".join(lines)


def _show_batches(batches: Batches, what: str) -> list[str]:
    if not batches.count:
        return []
    items = f", {_count(batches.items, 'item')}" if batches.items else ""
    rate = f", {_rate(batches.throughput_per_s)} items/s" if batches.throughput_per_s else ""
    lines = [f"{_count(batches.count, what)}{items}{rate}"]
    sides = (("host", batches.host), ("device", batches.device))
    for side, times in sides:
        if times is not None and times.p50_s is not None and times.p99_s is not None:
            tail = f"p99 {show_seconds(times.p99_s)}, max {show_seconds(times.max_s)}"
            lines.append(f"  {side}: {show_seconds(times.total_s)}, p50 {show_seconds(times.p50_s)}, {tail}")
    return lines


def _count(number: int, what: str) -> str:
    plural = "es" if what.endswith("batch") else "s"
    return f"{number:,} {what}{'' if number == 1 else plural}"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 1000 else f"{per_s:.4g}"
