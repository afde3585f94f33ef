"""Where an output comes from, as a tree on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tidemill.config.secrets import mask
from tidemill.data.sources.versions import EMPTY, VERSIONS, shorten
from tidemill.jobs.running.lineage import Version
from tidemill.view.plain import make_plain
from tidemill.view.sources import show_source

_UNSAVED = f"at no time that is kept (its run has not ended, or `{VERSIONS}` was deleted)"


def print_lineage(console: Console, version: Version) -> None:
    """Print a version, what made it and what it grew from; behind them what it was made of, further in."""
    for line in _draw(version):
        console.print(make_plain(line), soft_wrap=True)


def _draw(version: Version) -> Iterator[str]:
    """The lines of a version's tree: branches hang below its title."""
    yield _title(version)
    branches = [[line] for line in _iter_lines(version)] + [list(_draw(parent)) for parent in version.parents]
    for number, (first, *others) in enumerate(branches, 1):
        is_last = number == len(branches)
        yield f"{'└── ' if is_last else '├── '}{first}"
        yield from (f"{'    ' if is_last else '│   '}{line}" for line in others)


def _title(version: Version) -> str:
    named = f"{_relate(version.dataset)}{_at(version.hash)}"
    return f"{named}: {version.fault}" if version.fault else f"{named}: {_describe(version)}"


def _at(content: str) -> str:
    """A version behind its folder's name; nothing of one without rows, which all such outputs share."""
    return "" if content == EMPTY else f"@{shorten(content)}"


def _relate(dataset: str) -> str:
    """A folder within this one by its name from here."""
    path = Path(dataset)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else dataset


def _describe(version: Version) -> str:
    run = f", run {version.run_id[:8]}" if version.run_id else ""
    if not version.rows:
        return f"no rows{run}"
    rows = f"{version.rows:,} row{'' if version.rows == 1 else 's'}"
    return f"{rows}, {version.saved_at or _UNSAVED}{run}"


def _iter_lines(version: Version) -> Iterator[str]:
    if version.latest is not None:
        yield f"the folder went on since; it is now {_at(version.latest) or 'without rows'}"
    if version.source is not None and not version.parents:
        yield f"source: {show_source(version.source)}"
    if version.steps:
        yield f"steps: {', '.join(version.steps)}"
    for model in version.models:
        yield f"{model['step']}: {model['model']}{_show_price(model)}"
    for store in version.stores:
        yield f"{store['step']}: {_show_store(store)}"
    for earlier in version.earlier:
        grown = f"grew from @{shorten(earlier.hash)}"
        yield f"{grown}, which {earlier.fault}" if earlier.fault else f"{grown}: {_describe(earlier)}"


def _show_price(model: Mapping[str, Any]) -> str:
    where = ", in this process" if model.get("is_local") else ""
    if model["price"] is None:
        return where or ", at an unknown price"
    rates = ", ".join(f"{name} {rate:g}" for name, rate in model["price"].items())
    return f"{where}, in USD per million tokens: {rates}"


def _show_store(store: Mapping[str, Any]) -> str:
    """`writes lancedb, vectors in handbook, of 384 dimensions`."""
    place = f", {store['name']} in {_relate(mask(store['place']))}" if store["place"] else ""
    verb = "writes" if store["access"] == "write" else "reads"
    return f"{verb} {store['store']}{place}, of {store['dimensions']:,} dimensions"
