"""Tables of figures, and targets: met or not met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What a figure should be.

    Attributes:
        name: what is measured.
        measured, wanted: as shown.
        met: None where this run is too small to judge.
    """

    name: str
    measured: str
    wanted: str
    met: bool | None

    def __str__(self) -> str:
        verdict = {True: "met", False: "NOT MET", None: "not judged at this scale"}[self.met]
        return f"  {self.name}: {self.measured} (target {self.wanted}): {verdict}"


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of their own widths; the first to the left, figures to the right."""
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  " + "  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    return "\n".join(lines)


def render_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a table of a README."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
