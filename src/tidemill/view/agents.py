"""What agents did, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from tidemill.agents.result import render_turn


def print_transcripts(console: Console, transcripts: Sequence[Mapping[str, Any]]) -> None:
    """Print each run: the record it was for, and a line for each turn; those of agents that it called, further in."""
    for transcript in transcripts:
        console.print(f"{transcript['part']} {transcript['record']}, step {transcript['step']}", markup=False)
        for line in iter_turn_lines(transcript["turns"]):
            console.print(line, markup=False, soft_wrap=True)


def iter_turn_lines(turns: Sequence[Mapping[str, Any]], depth: int = 0) -> Iterator[str]:
    """A line for each turn, in front of those of the runs within it."""
    for number, turn in enumerate(turns, 1):
        yield "    " * depth + render_turn(number, turn)
        for call in turn.get("calls", ()):
            yield from iter_turn_lines(call.get("turns", ()), depth + 1)
