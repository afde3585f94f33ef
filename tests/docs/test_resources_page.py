"""docs/resources.md runs as printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from docpages import Page, run_page

import tidemill as tm

PAGE = Page.load("docs/resources.md")


def test_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each `print(…)  # text` prints that text, in order."""
    monkeypatch.chdir(tmp_path)
    tm.latency.reset()
    printed, said = run_page("\n".join(PAGE.blocks("python")), tmp_path / "resources_page.py", capsys)
    tm.latency.reset()
    for told in ("released", "opened", "closed"):
        printed.remove(told)
    assert printed == said


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
