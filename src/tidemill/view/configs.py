"""Configurations on a terminal: values with their origins, what differs, what a key means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidemill.config.inspection import Entry, Explanation
from tidemill.config.layers.origins import DEFAULT
from tidemill.config.secrets import MASK


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
    if not changes:
        console.print("no difference")
    for old, new in changes:
        key = next(each.key for each in (old, new) if each is not None)
        is_other = old is not None and new is not None and bool(old.digest and old.value == new.value)
        console.print(f"{key}: {_show_side(old)} → {'another ' if is_other else ''}{_show_side(new)}")


def _show_side(entry: Entry | None) -> str:
    return "not there" if entry is None else f"{show_yaml(entry.value)} [{entry.origin}]"


def print_explanation(console: Console, found: Explanation) -> None:
    """What the key means and takes; its value and what gave it, what that was laid over line by line below."""
    takes = f"  ({found.expected})" if found.expected else ""
    console.print(f"{found.key}{takes}")
    if found.description:
        console.print(f"  {found.description}")
    for each in found.entries:
        name = each.key if each.key != found.key else "is"
        first, *before = each.origin.places or (DEFAULT,)
        through = f" ({', '.join(each.origin.via)})" if each.origin.via else ""
        console.print(f"  {name} {show_yaml(each.value)}  from {first}{through}")
        for place in before:
            console.print(f"      over {place}")


def show_yaml(value: Any) -> str:
    """A value as one line of YAML; a secret as its mask."""
    if value == MASK:
        return MASK
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()
