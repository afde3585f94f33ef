"""docs/images.md runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docpages import Page, run_page

from tidemill.data.formats.image import IMAGE
from tidemill.data.formats.tar.groups import Group
from tidemill.data.formats.tar.records import KEY, build_record

PAGE = Page.load("docs/images.md")


def test_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each `print(…)  # text` prints that text, in order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    PAGE.write_files(tmp_path)
    (tmp_path / "job.yaml").write_text(PAGE.blocks("yaml")[0])
    code = [block for block in PAGE.blocks("python") if not block.startswith("# my_steps.py")]
    printed, said = run_page("\n".join(code), tmp_path / "images_page.py", capsys)
    assert printed == said


def test_every_suffix_that_has_a_kind_of_its_own_is_told(tmp_path: Path) -> None:
    rows = PAGE.text.partition("| the last suffix |")[2].partition("\n\n")[0].splitlines()
    bodies = {"the value": b"[1]", "text": b"1", "a whole number": b"1"}
    values = {"the value": [1], "text": "1", "a whole number": 1}
    told = 0
    for row in rows:
        kind = next((kind for kind in values if f"| {kind}" in row), None)
        for suffix in re.findall(r"`(\w+)`", row.partition("|")[2].partition("|")[0]) if kind else ():
            group = Group(b"a", 0, 0, [(suffix.encode(), bodies[kind or ""], 0)])
            assert build_record(tmp_path, group) == {KEY: "a", suffix: values[kind or ""]}
            told += 1
    assert told == 10
    assert IMAGE.compressible is False


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
