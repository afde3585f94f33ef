"""What an agent's `tools` may be, and what is told of what they may not."""

from __future__ import annotations

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
