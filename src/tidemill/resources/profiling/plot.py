"""How long batches took, as a picture."""

from __future__ import annotations

from os import PathLike
from typing import Any

from tidemill.packages import missing_package
from tidemill.resources.profiling.totals import Totals
from tidemill.resources.timing.histogram import Histogram


def draw_batches(totals: Totals, path: str | PathLike[str] | None) -> Any:
    """A matplotlib figure: how many of the measured batches took how long, on the host and on the device.

    Raises:
        ResourceError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_package("a plot", "matplotlib", "plot", error) from error
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for side, histogram in (("host", totals.measured.host), ("device", totals.measured.device)):
        if histogram.count:
            _draw(axes, side, histogram)
    axes.set_xlabel("milliseconds a batch")
    axes.set_ylabel("batches")
    axes.set_xscale("log")
    if axes.patches:
        axes.legend()
    if path is not None:
        figure.savefig(path)
    return figure


def _draw(axes: Any, side: str, histogram: Histogram) -> None:
    steps = histogram.list_steps()
    widths = [stop - start for start, stop, _ in steps]
    label = f"{side}: p50 {_ms(histogram.percentile_s(0.5))}, p99 {_ms(histogram.percentile_s(0.99))}"
    axes.bar(
        [start * 1e3 for start, _, _ in steps],
        [count for _, _, count in steps],
        [width * 1e3 for width in widths],
        align="edge",
        alpha=0.6,
        label=label,
    )


def _ms(seconds: float | None) -> str:
    return f"{(seconds or 0.0) * 1e3:.3g} ms"
