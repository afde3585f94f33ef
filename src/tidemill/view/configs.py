"""Configurations on a terminal: values with their origins, what differs, what a key means."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidemill.config.inspection import Entry, Explanation, describe_change, show_yaml
from tidemill.config.layers.origins import DEFAULT


def print_entries(console: Console, entries: Sequence[Entry]) -> None:
    """A line a value: its key, the value as YAML, where it came from; beside each other on a terminal."""
    rows = [(each.key, show_yaml(each.value), str(each.origin)) for each in entries]
    if not console.is_terminal:
        widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
        for key, value, origin in rows:
            console.print(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}", soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def print_changes(console: Console, changes: Sequence[tuple[Entry | None, Entry | None]]) -> None:
    """A line a key that differs: what it was, what it is, each with where it came from."""
    for line in map(describe_change, *zip(*changes, strict=True)) if changes else ["no difference"]:
        console.print(line)


def print_explanation(console: Console, found: Explanation) -> None:
    """What the key means and takes; its value and what gave it, what that was laid over line by line below."""
    takes = f"  ({found.expected})" if found.expected else ""
    console.print(f"{found.key}{takes}")
    if found.description:
        console.print(f"  {found.description}")
    if found.note:
        console.print(f"  {found.note}")
    for each in found.entries:
        name = each.key if each.key != found.key else "is"
        first, *before = each.origin.places or (DEFAULT,)
        through = f" ({', '.join(each.origin.via)})" if each.origin.via else ""
        console.print(f"  {name} {show_yaml(each.value)}  from {first}{through}")
        for place in before:
            console.print(f"      over {place}")
