"""A row of the ideas table: one demonstration, three ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Count = int | float

WAYS = ("naive", "usual", "tidemill")


@dataclass(frozen=True)
class Cell:
    """How one way did.

    Attributes:
        text: as the table shows it.
        counts: what a test can hold it to: calls in flight, peak memory, errors named. No times.
    """

    text: str
    counts: Mapping[str, Count]


@dataclass(frozen=True)
class Row:
    """One demonstration.

    Attributes:
        idea: which of the five it shows.
        name: what is done.
        cells: how each of the three ways did.
        note: a footnote.
    """

    idea: str
    name: str
    cells: Sequence[Cell]
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """How large the demonstrations are.

    Attributes:
        folder: where they may write.
        payloads: how many payloads of about 500 bytes.
        calls, latency_s: how many calls, and how long the server takes for each.
        many_calls, in_flight: how many there are where it is many, and how many of them at once.
        records: how many have several requests each.
        quota_s: how long calls go on against a quota.
    """

    folder: Path
    payloads: int = 50_000
    calls: int = 20
    latency_s: float = 0.1
    many_calls: int = 10_000
    in_flight: int = 2_000
    records: int = 20
    quota_s: float = 8.0


def render_ratio(ratio: float) -> str:
    """How many times faster than the naive way, or how many times as much: `18x`."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


Demonstration = Callable[[Setting], Row]
