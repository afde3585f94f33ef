"""The five ideas, each as naive / usual Python / Tidemill: one script, one table, two minutes.

    python benchmarks/ideas.py               # the table
    python benchmarks/ideas.py --markdown    # as the README has it
    python benchmarks/ideas.py --json        # the counts behind it, and no times

Memory is the peak by tracemalloc above a run of the same program over one payload, and in parentheses the resident
set's, each in a fresh process. The calls go to one server on loopback, a process of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from children import raise_file_limit
from idea_calls import show_calls, show_many_calls
from idea_configs import show_config
from idea_gather import show_gather
from idea_models import show_model
from idea_payloads import show_consumed, show_kept, show_landed, show_own, show_rows
from idea_pipelines import show_pipeline
from idea_quota import show_quota
from idea_resume import show_resume
from idea_schemas import show_schema
from idea_scopes import show_scope
from idea_tools import show_tools
from machine import describe_machine
from rows import WAYS, Demonstration, Row, Setting
from tables import render_markdown
from workload import WORK

ROWS: Mapping[str, Demonstration] = {
    "payloads-consumed": show_consumed,
    "payloads-kept": show_kept,
    "payloads-landed": show_landed,
    "resume": show_resume,
    "scope": show_scope,
    "model": show_model,
    "calls": show_calls,
    "many-calls": show_many_calls,
    "gather": show_gather,
    "quota": show_quota,
    "tools": show_tools,
    "config": show_config,
    "schema": show_schema,
    "pipeline": show_pipeline,
    "rows-at-hand": show_rows,
    "rows-handed-on": show_own,
}
"""Every row of the table, in its order."""

HEAD = ("idea", "demonstration", "naive", "usual Python", "Tidemill")
WIDTH = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--small", action="store_true", help="less of everything")
    given = parser.parse_args()
    raise_file_limit()
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        setting = Setting(Path(folder))
        if given.small:
            setting = replace(setting, payloads=5_000, many_calls=1_000, in_flight=200, records=3, quota_s=2.0)
        table = {key: show(setting) for key, show in ROWS.items()}
    if given.json:
        print(json.dumps({key: list_counts(row) for key, row in table.items()}))
        return
    notes = [row.note for row in table.values() if row.note]
    lines = [list_cells(row, notes) for row in table.values()]
    if given.markdown:
        print(render_markdown(HEAD, lines))
    else:
        print_table(lines)
    print("", *(f"[{number}] {note}." for number, note in enumerate(notes, 1)), sep="\n")
    print(f"\n{describe_machine(WORK)}")


def list_counts(row: Row) -> Mapping[str, Mapping[str, float]]:
    """A row's counts, by way."""
    return {way: cell.counts for way, cell in zip(WAYS, row.cells, strict=True)}


def list_cells(row: Row, notes: list[str]) -> list[str]:
    """A row as it is shown, with the number of its footnote."""
    mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
    return [row.idea, row.name + mark, *(cell.text for cell in row.cells)]


def print_table(lines: list[list[str]]) -> None:
    """The table for a terminal."""
    console = Console()
    console.width = max(console.width, WIDTH)
    table = Table(*HEAD, show_lines=True)
    for line in lines:
        table.add_row(*(cell.replace("[", "\\[") for cell in line))
    console.print(table, highlight=False)


if __name__ == "__main__":
    main()
