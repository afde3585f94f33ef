"""docs/tools.md runs as printed, and its tables say what the code says."""

from __future__ import annotations

import json
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from docpages import Page, bare, list_said, load_module
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

import tidemill as tm
from tidemill import agents
from tidemill.agents.builtin.table import BUILTIN, load_settings
from tidemill.agents.calling.outcome import OutcomeKind
from tidemill.agents.calling.policy import load_policy
from tidemill.agents.tools.options import ToolOptions
from tidemill.commands import app
from tidemill.config.loading import load_config
from tidemill.models.model import Model
from tidemill.stores.store import Store

pytestmark = pytest.mark.usefixtures("lance_opened_once")

PAGE = Page.load("docs/tools.md")
FILES = ("mill", "my_tools", "outside", "harbour", "my_rooms")
SAID = {"executable": "this Python", "folder": "the file's"}
"""Defaults that depend on where they are used, in words."""
TYPES = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "date": date,
    "list[int]": list[int],
    'Literal["full", "none"]': Literal["full", "none"],
    "int | None": int | None,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that the page names, whose modules can be imported."""
    PAGE.write_files(tmp_path)
    for text in PAGE.blocks("yaml"):
        if name := find_name(text):
            (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name, None)


def find_name(text: str) -> str:
    """The file that a block's first line names; empty where it names none."""
    named = re.match(r"# (\w+\.\w+)\n", text)
    return named[1] if named else ""


def iter_blocks() -> Iterator[tuple[str, str]]:
    """The page's code that runs, and what it says it prints, in order."""
    for language, text in re.findall(r"^```(python|text)\n(.*?)^```", PAGE.text, re.DOTALL | re.MULTILINE):
        if not find_name(text):
            yield language, text


def normalize(line: str) -> str:
    """The line without what is another one in each run: the ids of marks."""
    return re.sub(r'(?<=id=")\w+(?=">$)|(?<=^</result )\w+(?=>$)', "ID", line)


def test_the_page_runs_and_prints_what_it_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each `print(…)  # text` prints that text, others what stands below them, in order."""
    page = PAGE.text.partition("## Strict schemas")[0]
    said: list[str] = []
    for language, text in iter_blocks():
        if text in page:
            said += list_said(text) if language == "python" else text.splitlines()
    path = folder / "tools_page.py"
    path.write_text("\n".join(text for language, text in iter_blocks() if language == "python"))
    with load_module(path):
        printed = capsys.readouterr().out.splitlines()
    assert [normalize(line) for line in printed] == [normalize(line) for line in said]


def test_its_commands_say_what_stands_below_them(folder: Path) -> None:
    lines: list[str] = []
    for command in PAGE.commands():
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        lines += result.stderr.splitlines()
    assert lines == PAGE.blocks("text")[-1].splitlines() != []


def test_its_files_are_what_an_agent_and_a_policy_take(folder: Path) -> None:
    (folder / "mill.db").touch()
    assert load_policy("policy.yaml").rules.rules
    agent = load_config(tm.Agent, "agent.yaml")
    assert [tool.name for tool in agent.list_tools()] == ["search", "web_search", "http_get", "sql_query"]
    assert [*agent.list_sources()[0].describe_result()] == ["vector_search"]


def iter_described() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each tool that a file of the page describes."""
    for text in PAGE.blocks("yaml"):
        for entry in yaml.safe_load(text).get("tools", ()):
            if isinstance(entry, dict):
                yield from entry.items()


def test_settings_in_files_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tool that comes along stands in a file, and its settings are valid."""
    for name in ("bwrap", "docker"):  # whatever sandbox is installed here
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MILL_MCP_TOKEN", "none-needed")
    described = list(iter_described())
    assert {name for name, _ in described} == BUILTIN.keys()
    for name, settings in described:
        made = load_config(load_settings(name), settings)
        assert made.model_fields_set == settings.keys()


def test_the_sandbox_is_the_one_that_is_tested() -> None:
    """`tests/agents/interpreting.py` has the command that the tests of `python` run code under."""
    sandboxes = [settings["sandbox"] for name, settings in iter_described() if name == "python"]
    tested = (Path(__file__).parents[1] / "agents" / "interpreting.py").read_text()
    words = re.findall(r'"([^"]+)"', tested.partition("BWRAP = (")[2].partition("\n)\n")[0])
    assert sandboxes[0] == words != []


def iter_fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The settings of a tool by their names in a table, those within others too, but of what has a table elsewhere."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner not in (Store, Model):
            yield from iter_fields(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", field


SETTINGS: Mapping[str, type[BaseModel]] = {"ToolOptions": ToolOptions} | {name: load_settings(name) for name in BUILTIN}


def test_every_tool_that_comes_along_has_its_table() -> None:
    assert PAGE.markers("settings") == list(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_table_has_every_setting_and_its_default(name: str) -> None:
    fields = dict(iter_fields(SETTINGS[name]))
    rows = {bare(next(iter(row.values()))): row["default"] for row in PAGE.table(f"settings: {name}")}
    assert list(rows) == list(fields)
    for key, shown in rows.items():
        field = fields[key]
        if field.is_required() or key in SAID:
            assert shown == SAID.get(key, "required"), key
        else:
            assert validate(field, yaml.safe_load(bare(shown))) == field.get_default(call_default_factory=True), key


def validate(field: FieldInfo, value: Any) -> Any:
    """A default as the field has it: of `32KiB` the bytes."""
    return TypeAdapter(field.rebuild_annotation()).validate_python(value)


def test_every_kind_of_outcome_is_told() -> None:
    assert [bare(row["kind"]) for row in PAGE.table("kinds") if row["kind"]] == list(typing.get_args(OutcomeKind))


def check(kind: Any, value: Any) -> Any:
    """What a tool gets of a value for an argument of a type; None where it is refused."""

    def take(value: Any) -> None:
        """Take it."""

    take.__annotations__["value"] = kind
    return tm.tool(take).signature.check(json.dumps({"value": value})).values


@pytest.mark.parametrize("row", PAGE.table("coercions"), ids=lambda row: bare(row["type"]))
def test_values_are_taken_and_refused_as_told(row: dict[str, str]) -> None:
    kind: Any = TYPES[bare(row["type"])]
    for column in ("taken", "refused"):
        for text in re.findall(r"`(.*?)`", row[column]):
            assert (check(kind, json.loads(text)) is not None) == (column == "taken"), text


def test_every_name_of_a_tool_or_decision_stands_on_the_page() -> None:
    """What `tidemill.agents` has for tools is used or named here."""
    told = set(re.findall(r"\w+", PAGE.text))
    others = {"AgentResult", "Event", "Final", "TextDelta", "ToolEnd", "ToolStart", "TurnEnd", "fan_out"}
    assert set(agents.__all__) - others - told == set()


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
