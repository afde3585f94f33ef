"""docs/calls.md runs as printed: its code, its job files, its plan of a mock server and its commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from docpages import Page, run_page

from tidemill.calls.limits import TUNABLE, Limits
from tidemill.config.loading import load_config
from tidemill.jobs.running.tuning import parse_tuning
from tidemill.models.model import Model
from tidemill.testing.mock import MockOptions, MockPlan

PAGE = Page.load("docs/calls.md")


def test_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each `print(…)  # text` prints that text, in order."""
    monkeypatch.chdir(tmp_path)
    printed, said = run_page("\n".join(PAGE.blocks("python")), tmp_path / "calls_page.py", capsys)
    assert printed == said


def test_its_files_are_what_a_job_and_a_mock_server_take() -> None:
    """Every key is one of theirs."""
    models, plan = map(yaml.safe_load, PAGE.blocks("yaml"))
    taken = [load_config(Model, fields).model_fields_set for fields in models["models"].values()]
    assert taken == [fields.keys() for fields in models["models"].values()] != []
    assert load_config(MockPlan, plan).model_fields_set == plan.keys() != set()


def test_its_commands_are_understood() -> None:
    commands = list(PAGE.commands())
    assert {command[0] for command in commands} == {"tune", "serve-mock", "schema"}
    for name, *arguments in commands:
        if name == "tune":
            parse_tuning(arguments[1:])
        elif name == "schema":
            assert arguments[1:] == ["--for", "anthropic"]
        else:
            names = [option.removeprefix("--").replace("-", "_") for option in arguments[::2]]
            assert set(names) <= {"port", *MockOptions.model_fields}


def test_every_limit_is_told() -> None:
    told = set(re.findall(r"\w+", PAGE.text))
    assert {*Limits.model_fields, *TUNABLE} <= told


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
