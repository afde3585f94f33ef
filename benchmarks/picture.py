"""Lines over time as an SVG that can be read on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 120, 48, 56
STEPS = (1, 2, 2.5, 5, 10)
NAME_HEIGHT = 17

Point = tuple[float, float]

# Okabe and Ito's colours, which colour-blind readers tell apart, lighter where the page is dark.
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.grid { stroke: #d0d7de; stroke-width: 1 }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
.line0 { stroke: #b54708 } .name0 { fill: #b54708 }
.line1 { stroke: #57606a; stroke-dasharray: 6 4 } .name1 { fill: #57606a }
.line2 { stroke: #0072b2 } .name2 { fill: #0072b2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.grid { stroke: #3d444d }
.line0 { stroke: #f0a35e } .name0 { fill: #f0a35e }
.line1 { stroke: #a5adb6 } .name1 { fill: #a5adb6 }
.line2 { stroke: #56b4e9 } .name2 { fill: #56b4e9 }
}"""


@dataclass(frozen=True)
class Line:
    """A line and its name."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Picture:
    """Up to three lines in one picture, whose axes begin at 0.

    Attributes:
        title, across, up: its own and its axes' names.
        lines: from the one that is drawn first.
        names_at: where a line's name stands: where the line is near its most for the last time, or at its end.
    """

    title: str
    across: str
    up: str
    lines: Sequence[Line]
    names_at: Literal["most", "end"] = "most"

    def render(self) -> str:
        """The SVG."""
        peaks = ", ".join(f"{line.name} {max(y for _, y in line.points):,.0f}" for line in self.lines)
        body = "\n".join([*self._iter_axes(), *self._iter_lines()])
        return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title desc">
<title id="title">{escape(self.title)}</title>
<desc id="desc">{escape(self.up)}, at most: {escape(peaks)}.</desc>
<style>
{STYLE}
</style>
<text class="title" x="{LEFT}" y="24">{escape(self.title)}</text>
{body}
</svg>
"""

    def _iter_axes(self) -> Iterator[str]:
        bottom, right, middle = HEIGHT - BOTTOM, WIDTH - RIGHT, (HEIGHT - BOTTOM + TOP) / 2
        for value in _ticks(self._most(1)):
            y = self._y(value)
            yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>'
        for value in _ticks(self._most(0)):
            yield f'<text x="{self._x(value):.1f}" y="{bottom + 20}" text-anchor="middle">{value:g}</text>'
        yield f'<text x="{(LEFT + right) / 2}" y="{bottom + 42}" text-anchor="middle">{escape(self.across)}</text>'
        yield (
            f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
            f"{escape(self.up)}</text>"
        )

    def _iter_lines(self) -> Iterator[str]:
        drawn = [[(self._x(x), self._y(y)) for x, y in line.points] for line in self.lines]
        places = _spread([points[-1] for points in drawn]) if self.names_at == "end" else [*map(_find_most, drawn)]
        for number, (line, points, (x, y)) in enumerate(zip(self.lines, drawn, places, strict=True)):
            told = " ".join(f"{x:.1f},{y:.1f}" for x, y in _thin(points))
            yield f'<polyline class="line line{number}" points="{told}"/>'
            yield f'<text class="name{number}" x="{x + 6:.1f}" y="{y + 4:.1f}">{escape(line.name)}</text>'

    def _x(self, value: float) -> float:
        return LEFT + value / _ticks(self._most(0))[-1] * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / _ticks(self._most(1))[-1] * (HEIGHT - TOP - BOTTOM)

    def _most(self, axis: int) -> float:
        return max(point[axis] for line in self.lines for point in line.points)


def _find_most(points: Sequence[Point]) -> Point:
    """The last of the points, as drawn, that is near the highest."""
    base = HEIGHT - BOTTOM
    most = max(base - y for _, y in points)
    return next((x, y) for x, y in reversed(points) if base - y > 0.9 * most)


def _spread(places: Sequence[Point]) -> list[Point]:
    """The places, as drawn, those that are too near below one another moved down."""
    spread = list(places)
    order = sorted(range(len(spread)), key=lambda number: spread[number][1])
    for above, below in pairwise(order):
        spread[below] = spread[below][0], max(spread[below][1], spread[above][1] + NAME_HEIGHT)
    return spread


def _ticks(most: float) -> list[float]:
    """Round values from 0 to `most` or just above it, about five of them."""
    rough = most / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in STEPS if step * power >= rough)
    return [number * step for number in range(math.ceil(most / step) + 1)]


def _thin(points: Sequence[Point]) -> list[Point]:
    """Without the points that stand on the line between their neighbours, or on one of them."""
    kept = [points[0]]
    for here, after in pairwise(points[1:]):
        if max(abs(here[1] - kept[-1][1]), abs(here[1] - after[1])) > 0.2 and here != kept[-1]:
            kept.append(here)
    return [*kept, points[-1]]
