"""What an agent's `tools` may be, and what is told of what they may not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill import agents
from tidemill.agents.tools.tool import Tool
from tidemill.errors import ConfigError

MODEL = tm.model("test/model", base_url="http://scripted.invalid/v1")
MAKERS = [
    *(agents.web_search, agents.http_get, agents.read_file, agents.list_files, agents.sql_query, agents.sql_schema),
    *(agents.python, agents.openapi, agents.mcp_server),
]


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_what_makes_a_tool_is_none_itself(maker: Any) -> None:
    """Else a model could choose the folder that it may read, or say of itself that its code is trusted."""
    with pytest.raises(ConfigError, match=f"`{maker.__name__}` makes tools and is none itself"):
        tm.Agent(MODEL, tools=[maker])


def test_so_it_is_with_one_of_somebody_else() -> None:
    def make_search(folder: str) -> list[Tool] | None:
        """Make it."""

    with pytest.raises(ConfigError, match="`make_search` makes tools") as caught:
        tm.tool(make_search)
    assert caught.value.hint == "give what it makes: `make_search(…)`"


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (["web_search"], "expected the settings of `web_search`, got nothing; write web_search: {engine: …}"),
        ([{"read_file": "notes"}], 'expected the settings of `read_file`, got "notes"; write read_file: {root: …}'),
        ([{"mcp": None}], "expected the settings of `mcp`, got null; write mcp: {…}"),
        ([{"web_serch": {}}], "unknown tool `web_serch`; did you mean `web_search`?"),
        ("search", 'expected a list of tools, got "search"'),
        (
            [{"read_file": {"root": "."}, "list_files": {"root": "."}}],
            "expected one tool with its settings, got 2 keys",
        ),
    ],
)
def test_what_is_no_tool_is_told_with_the_way_to_write_one(tools: Any, message: str) -> None:
    with pytest.raises(ConfigError, match="tools") as caught:
        tm.Agent(MODEL, tools=tools)
    assert message in str(caught.value)


def test_every_wrong_tool_of_a_file_is_told_at_its_place_with_what_was_meant(tmp_path: Path) -> None:
    """The settings of ours as any configuration: the near key, all choices, and all mistakes at once."""
    path = tmp_path / "agent.yaml"
    path.write_text(WRONG)
    with pytest.raises(ConfigError, match="6 errors") as caught:
        tm.load_config(tm.Agent, path)
    told = str(caught.value).replace(f"{tmp_path}/", "")
    assert re.findall(r"^agent\.yaml:(\d+:\d+) +(.*?)(?:  \(.*)?$", told, re.MULTILINE) == [
        ("3:5", "`tools.0`: unknown tool `web_serch`; did you mean `web_search`?"),
        ("4:26", '`tools.1.web_search.engine`: expected `searxng`, `brave` or `tavily`, got "google"'),
        ("4:34", "`tools.1.web_search.cout`: unknown key `cout`; did you mean `count`?"),
        ("5:5", "`tools.2.sql_query`: missing key `database` (text)"),
        ("5:26", "`tools.2.sql_query.limits.row`: unknown key `limits.row`; did you mean `limits.rows`?"),
        ("6:5", "`tools.3`: `re` has no `serch`; did you mean `re:search`?"),
    ]


WRONG = """
model: openai/any
tools:
  - web_serch: {engine: brave}
  - web_search: {engine: google, cout: 5}
  - sql_query: {limits: {row: 5}}
  - re:serch
""".removeprefix("\n")


class Desk:
    def find(self, query: str) -> str:
        """Find it."""
        return query


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Desk.find, "`tools.0`: `find` is a method, taken of its class; take it of an instance"),
        (MODEL, "`tools.0`: a model is no tool; an agent is one: tm.Agent(model, name=…, description=…)"),
        (tm.Agent, "`tools.0`: `Agent` is a class, which does nothing by itself"),
    ],
)
def test_what_nobody_could_call_is_refused(entry: Any, message: str) -> None:
    """A method without its instance among them, which the model would else never be told of."""
    with pytest.raises(ConfigError, match="tools") as caught:
        tm.Agent(MODEL, tools=[entry])
    assert message in str(caught.value)


def test_a_method_of_an_instance_is_a_tool() -> None:
    assert [each.name for each in tm.Agent(MODEL, tools=[Desk().find]).list_tools()] == ["find"]
