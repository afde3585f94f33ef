"""docs/resources.md runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docpages import ROOT, Page, list_said, load_module
from test_streams_page import list_anchors

import tidemill as tm

PAGE = Page.load("docs/resources.md")


def test_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each `print(…)  # text` prints that text, in order."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "resources_page.py"
    path.write_text("\n".join(PAGE.blocks("python")))
    tm.latency.reset()
    with load_module(path):
        printed = capsys.readouterr().out.splitlines()
        for told in ("released", "opened", "closed"):
            printed.remove(told)
        assert printed == list_said(path.read_text())
    tm.latency.reset()


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    for target in re.findall(r"\]\((?!http)(.*?)\)", PAGE.text):
        name, _, heading = target.partition("#")
        text = (ROOT / "docs" / (name or "resources.md")).read_text()
        assert not heading or heading in list_anchors(text), target
