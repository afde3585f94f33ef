"""docs/agents.md runs as printed: its agents, and its job, killed and resumed."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from docpages import MODEL, Page, list_said, load_module
from pagemodel import answer, serve_searches

from tidemill.agents.agent import Agent
from tidemill.agents.result import StopReason
from tidemill.agents.step import RunAgent
from tidemill.testing import FaultServer

PAGE = Page.load("docs/agents.md")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's code as one module, beside its files; the paid model and the search engine are loopback servers."""
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    lines = (json.dumps({"question": f"Research product {number}: how many were sold?"}) for number in range(100))
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    with closing(sqlite3.connect(tmp_path / "sales.db")) as connection:
        connection.execute("CREATE TABLE sales (product INTEGER, units INTEGER)")
        sold = [(number, 5 * number + 5) for number in range(100) for _ in range(2)]
        connection.executemany("INSERT INTO sales VALUES (?, ?)", sold)
        connection.commit()
    with FaultServer(reply=answer, latency_s=0.02) as model, serve_searches() as search:
        [job] = PAGE.blocks("yaml")
        job = job.replace(f"model: {MODEL}", f'model: {MODEL}, base_url: "{model.base_url}"')
        (tmp_path / "research.yaml").write_text(job.replace("http://localhost:8888", search))
        PAGE.write_files(tmp_path)
        code = "\n".join(PAGE.blocks("python")).replace(f'"{MODEL}"', f'"{MODEL}", base_url="{model.base_url}"')
        path = tmp_path / "agents_page.py"
        path.write_text(code)
        yield path


def test_the_page_runs_and_prints_what_it_says(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each `print(…)  # text` prints that text, in order; events come in the order of the branches that print them."""
    with load_module(module):
        assert capsys.readouterr().out.splitlines() == list_said(module.read_text())


def test_every_reason_to_stop_is_told() -> None:
    assert set(get_args(StopReason)) <= set(re.findall(r"\w+", PAGE.text))


def test_every_setting_of_an_agent_is_told_somewhere() -> None:
    """Here, or in the tables of docs/jobs.md."""
    told = set(re.findall(r"\w+", PAGE.text + Page.load("docs/jobs.md").text))
    assert {*Agent.model_fields, *RunAgent.model_fields} <= told


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
