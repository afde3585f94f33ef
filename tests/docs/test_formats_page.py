"""docs/formats.md says what the code's table of formats says, and runs as printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from docpages import Page, run_page
from formats_page import render_page

from tidemill.data.formats.format import Format
from tidemill.data.formats.saving import save_records
from tidemill.data.formats.table import FORMATS, READ_ONLY
from tidemill.errors import ConfigError

PAGE = Page.load("docs/formats.md")

each = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)


def row_of(form: Format, number: int) -> dict[str, Any]:
    """A record that the format holds."""
    if form.name == "tar":
        return {"__key__": str(number), "text": str(number)}
    if form.name == "image":
        return {"image": b"%d" % number}
    return {"vector": float(number)} if form.traits.extra == "numpy" else {"text": str(number)}


def write_rows(rows: list[dict[str, Any]], path: Path, form: Format) -> None:
    """A file of the format, which of one that is only read may hold anything: it says the same of all."""
    if form in READ_ONLY:
        path.write_bytes(b"any")
    else:
        save_records(rows, path, form)


def test_the_tables_are_the_codes_own() -> None:
    """`make formats` writes them anew."""
    assert render_page(PAGE.text) == PAGE.text
    assert len(PAGE.table("formats: records")) == len(PAGE.table("formats: abilities")) == len(FORMATS)


@each
def test_what_is_said_to_be_found_by_number_is(tmp_path: Path, form: Format) -> None:
    """And what is not, says why."""
    count = 1 if form.name == "image" else 3
    rows = [row_of(form, number) for number in range(count)]
    path = tmp_path / f"a{form.suffixes[0]}"
    write_rows(rows, path, form)
    if form.traits.by_number:
        opened = form.open_rows(path)
        last = opened.read_row(count - 1)
        assert (opened.count_rows(), {name: last[name] for name in rows[-1]}) == (count, rows[-1])
        opened.release()
    else:
        with pytest.raises(ConfigError, match="cannot be a dataset"):
            form.open_rows(path)


@each
def test_a_schema_is_said_to_be_there_where_it_is(tmp_path: Path, form: Format) -> None:
    rows = [row_of(form, 1)]
    path = tmp_path / f"a{form.suffixes[0]}"
    write_rows(rows, path, form)
    assert (form.read_schema(path) is None) == form.traits.schema.startswith("none")


def test_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed, said = run_page("\n".join(PAGE.blocks("python")), tmp_path / "formats_page_code.py", capsys)
    assert printed == said


def test_every_link_leads_somewhere() -> None:
    assert PAGE.find_broken_links() == []
