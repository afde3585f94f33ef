"""The tables of docs/formats.md, as the code's own table of formats has them; run as a script it writes them anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tidemill.data.formats.format import Format
from tidemill.data.formats.table import FORMATS

PATH = Path(__file__).parents[2] / "docs" / "formats.md"


def render_records() -> str:
    rows = [
        (form.traits.title, f"`{form.name}`", _code(form.suffixes), form.traits.record, _code(sorted(form.takes)))
        for form in FORMATS
    ]
    return _render(("format", "`format=`", "suffixes", "a record is", "options"), rows)


def render_abilities() -> str:
    rows = [
        (
            form.traits.title,
            form.traits.by_number or "no",
            form.traits.resume,
            form.traits.schema,
            _describe_packing(form),
            f"`tidemill[{form.traits.extra}]`" if form.traits.extra else "",
        )
        for form in FORMATS
    ]
    return _render(("format", "by number", "a resume reads again", "columns", "packed", "extra"), rows)


TABLES = {"records": render_records, "abilities": render_abilities}


def render_page(text: str) -> str:
    """The page with its tables as the code has them."""
    for name, render in TABLES.items():
        marker = f"<!-- formats: {name} -->\n"
        head, found, rest = text.partition(marker)
        assert found, f"the page has no table {name}"
        text = head + marker + render() + re.sub(r"\A(\|.*\n)*", "", rest)
    return text


def _describe_packing(form: Format) -> str:
    return form.traits.packed or ("as a whole" if form.compressible else "no")


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _render(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PATH.write_text(render_page(PATH.read_text()))
