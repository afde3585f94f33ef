"""`tidemill schema --for`: what a provider gets of a reply or a tool, without a call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidemill.commands import app, run_command

MODULE = '''
from typing import Literal

from pydantic import BaseModel, Field

import tidemill as tm


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)


class Scores(BaseModel):
    scores: dict[str, int]


Labels = list[Label]


@tm.tool
def search(query: str, limit: int = 10) -> str:
    """Search.

    Args:
        query: what for.
        limit: how many.
    """
    return query


def look(query: str, limit: int = 10) -> str:
    """Look."""


def stare(query):
    """Stare."""


agent = tm.Agent("openai/any", tools=[search, look])
'''


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told_schemas.py").write_text(MODULE)
    (tmp_path / "label.json").write_text('{"type": "object", "properties": {"a": {"type": "integer"}}}')
    monkeypatch.chdir(tmp_path)


def command(*arguments: str) -> int:
    return run_command(lambda: app(list(arguments), standalone_mode=False))


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, list[str]]:
    assert command("schema", *arguments) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err.splitlines()


def test_the_schema_is_printed_and_what_is_lost_is_told_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    schema, told = ask(capsys, "told_schemas:Label", "--for", "openai")
    assert schema["required"] == ["sentiment", "topic"]
    assert told == [
        "replies are asked for by a schema that the provider holds them to",
        "dropped: $.topic: `maxLength` is told and not held to",
    ]
    assert ask(capsys, "told_schemas:Label", "--for", "llama.cpp")[1] == told[:1]


def test_another_rung_is_told_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    _, told = ask(capsys, "told_schemas:Scores", "--for", "anthropic")
    assert told == ["replies are asked for as the call of a tool", "forbidden: `$.scores` has keys of any name"]
    schema, told = ask(capsys, "told_schemas:Labels", "--for", "openai")
    assert list(schema["properties"]) == ["value"]
    assert told[1] == "the value stands in an object, under `value`, and is taken out of it"


def test_as_one_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    found, told = ask(capsys, "told_schemas:Label", "--for", "gemini", "--json")
    assert told == []
    assert (found["rung"], found["strict"], found["forbidden"]) == ("schema", True, [])
    assert found["dropped"] == [{"path": "$.topic", "keyword": "maxLength", "told": "is told and not held to"}]


def test_a_file_and_a_tool_are_asked_about_likewise(capsys: pytest.CaptureFixture[str]) -> None:
    _, told = ask(capsys, "label.json", "--for", "openai")
    assert told[1:] == ["dropped: $.a: `required` is asked for: a value is written each time"]
    schema, told = ask(capsys, "told_schemas:search", "--for", "openai")
    assert schema["properties"]["limit"]["default"] == 10
    assert told == [
        "arguments are checked when they are there",
        "dropped: $.limit: `default` is told, and a value is written each time",
    ]
    assert ask(capsys, "told_schemas:look", "--for", "openai")[1] == told
    assert ask(capsys, "told_schemas:search", "--for", "anthropic")[1] == ["the provider holds arguments to it"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("told_schemas:Lable", "--for", "openai"), "did you mean `told_schemas:Label`?"),
        (("labl.json", "--for", "openai"), "did you mean `label.json`?"),
        (("told_schemas:agent", "--for", "openai"), "is an agent\n  name one of its tools, or its output"),
        (("told_schemas:stare", "--for", "openai"), "`query` of `stare` has no annotation"),
        (("--for", "openai"), "--for needs what is asked for"),
        (
            ("told_schemas:tm", "--for", "openai"),
            "is no Pydantic model, no other class or annotation, and no JSON Schema",
        ),
    ],
)
def test_what_is_not_there_is_told(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str) -> None:
    assert command("schema", *arguments) == 2
    assert told in capsys.readouterr().err
