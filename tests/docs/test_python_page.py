"""docs/python.md runs as printed, and its tables have every argument and field."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from docpages import MODEL, Page, bare, list_said, load_module

import tidemill as tm
from tidemill.errors import TidemillError
from tidemill.jobs.running.report import Report
from tidemill.testing import FaultServer

PAGE = Page.load("docs/python.md")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's code as one module, in a folder with its records; the paid model is a fault server."""
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "reviews.jsonl").write_text(PAGE.blocks("json")[0])
    with FaultServer() as server:
        code = "\n".join(PAGE.blocks("python"))
        assert code.count(f'"{MODEL}",') == 1
        path = tmp_path / "python_page.py"
        path.write_text(code.replace(f'"{MODEL}",', f'"{MODEL}", base_url="{server.base_url}",'))
        yield path


def test_the_page_runs_and_prints_what_it_says(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each `print(…)  # text` prints that text, in order."""
    with load_module(module):
        printed = capsys.readouterr().out.splitlines()
        printed.remove("released")
        assert printed == list_said(module.read_text())


def test_every_argument_of_write_stands_there() -> None:
    rows = {bare(row["argument"]): bare(row["default"]) for row in PAGE.table("arguments: write")}
    parameters = dict(inspect.signature(tm.Stream.write).parameters)
    del parameters["self"]
    empty = inspect.Parameter.empty
    assert rows == {
        name: "required" if each.default is empty else repr(each.default) for name, each in parameters.items()
    }


def test_every_field_of_a_report_stands_there() -> None:
    told = [bare(name) for row in PAGE.table("fields: Report") for name in row["field"].split(", ")]
    assert sorted(told) == sorted(field.name for field in fields(Report))


def test_every_name_of_the_top_level_is_told() -> None:
    told = set(re.findall(r"`?(\w+)`?", PAGE.text))
    assert set(tm.__all__) - {"__version__"} <= told


def test_the_tree_of_errors_is_whole() -> None:
    tree = next(text for text in PAGE.blocks("text") if "TidemillError" in text)
    assert set(re.findall(r"\w+Error", tree)) == {TidemillError.__name__, *names_below(TidemillError)}


def names_below(kind: type[BaseException]) -> set[str]:
    """The public classes of the tree; subclasses within modules are their own matter."""
    below = {child for child in kind.__subclasses__() if hasattr(tm, child.__name__)}
    return {child.__name__ for child in below}.union(*(names_below(child) for child in below))
