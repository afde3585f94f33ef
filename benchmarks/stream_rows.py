"""Rounds of clients side by side, and what is told of them: shared by the rows of `streams.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from children import run_child
from tables import render_table

Results = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Setting:
    """How large the rows are.

    Attributes:
        rounds: how often each client runs; medians are told.
        records: records of the files that are read through.
        accessed: records of the file that is read at random, and how many of its records are.
        small_bytes, large_bytes: of the files whose peak memory is compared.
        generated: records of the longer generated stream.
        shuffled: indices that are gone through, of 100,000,000.
        mapped: records of the parallel maps.
        judged: whether the sizes are those the memory targets are about.
    """

    rounds: int = 5
    records: int = 500_000
    accessed: int = 1_000_000
    small_bytes: int = 100 * 10**6
    large_bytes: int = 10**9
    generated: int = 1_000_000
    shuffled: int = 5_000_000
    mapped: int = 100_000
    judged: bool = False


@dataclass(frozen=True)
class Client:
    """One way: what it is called in the table, and its process."""

    name: str
    script: str
    arguments: tuple[object, ...]


def run_rounds(clients: Sequence[Client], rounds: int) -> tuple[Results, list[str]]:
    """Every client once a round; one that fails is left out from then on, and told."""
    results: dict[str, list[Mapping[str, Any]]] = {client.name: [] for client in clients}
    faults: list[str] = []
    for _ in range(rounds):
        for client in clients:
            if client.name not in results:
                continue
            try:
                results[client.name].append(run_child(client.script, *client.arguments))
            except SystemExit as failure:  # the other rows are measured all the same
                del results[client.name]
                faults.append(f"{client.name}: {str(failure).strip().splitlines()[-1]}")
    return results, faults


def middle(results: Results, name: str, figure: str) -> float:
    """The median of a figure over the rounds."""
    return float(statistics.median(found[figure] for found in results[name]))


def cost_us(results: Results, name: str, figure: str = "cpu_s") -> float:
    """CPU microseconds a record, or those of another figure."""
    return float(statistics.median(found[figure] / found["records"] for found in results[name])) * 1e6


def speed_ratio(results: Results, name: str, floor: str, figure: str = "cpu_s") -> float:
    """How many times the floor's speed, by CPU time a record: the median over the rounds."""
    pairs = zip(results[name], results[floor], strict=True)
    return float(statistics.median((b[figure] / b["records"]) / (one[figure] / one["records"]) for one, b in pairs))


def render_results(results: Results, floor: str) -> str:
    """The medians as a table; `of the floor` is a speed, by CPU time."""
    head = ("way", "k records/s", "CPU us/record", "of the floor", "peak RSS MB", "growth MB")
    rows = []
    for name in results:
        compared = f"{speed_ratio(results, name, floor):.2f}x" if floor in results else ""
        memory = [
            f"{middle(results, name, figure):.0f}" if figure in results[name][0] else ""
            for figure in ("peak_rss_mb", "grown_mb")
        ]
        speed = 1e3 / cost_us(results, name, "wall_s")
        rows.append((name, f"{speed:,.0f}", f"{cost_us(results, name):.2f}", compared, *memory))
    return render_table(head, rows)
