"""docs/streams.md runs as printed, and its tables have every method and format."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docpages import Page, list_said, load_module

import tidemill as tm
from tidemill.data.formats.table import FORMATS

PAGE = Page.load("docs/streams.md")
FILE = "review_steps.py"

pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11 on torch 2.13
]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's code as one module, beside the one that its workers import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    PAGE.write_files(tmp_path)
    assert (tmp_path / FILE).exists()
    code = [block for block in PAGE.blocks("python") if not block.startswith(f"# {FILE}")]
    path = tmp_path / "streams_page.py"
    path.write_text("\n".join(code))
    yield path
    sys.modules.pop(Path(FILE).stem, None)


def test_the_page_runs_and_prints_what_it_says(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each `print(…)  # text` prints that text, in order."""
    with load_module(page):
        assert capsys.readouterr().out.splitlines() == list_said(page.read_text())


def test_every_method_of_a_stream_is_told() -> None:
    told = set(re.findall(r"\w+", PAGE.text))
    for kind in (tm.Stream, tm.Dataset):
        assert {name for name in dir(kind) if not name.startswith("_")} - {"narrow", "flow"} <= told, (
            "those of other layers apart"
        )


def test_every_format_is_told_with_its_suffixes() -> None:
    table = PAGE.table("formats")
    told = {suffix for row in table for suffix in re.findall(r"`(\.\w+)`", row["suffixes"])}
    assert told == {suffix for each in FORMATS for suffix in each.suffixes}


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
