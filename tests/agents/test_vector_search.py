"""`vector_search`: an agent finds what a real store holds, by a real embedding model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill.agents import vector_search
from tidemill.config.loading import load_config
from tidemill.errors import ConfigError
from tidemill.stores.lance.settings import LanceDB
from tidemill.testing import FaultServer, ToolCalls

pytestmark = pytest.mark.usefixtures("lance_opened_once")

TEXTS = {
    "mill": ("A tide mill stores the tide behind a gate and grinds corn with it.", "en", 1787),
    "bread": ("Bread is baked from flour, water and salt.", "en", 1900),
    "ship": ("Das Schiff fährt mit der Flut aus dem Hafen.", "de", 1900),
}


def make_store(folder: Path, dimensions: int = 384) -> LanceDB:
    return LanceDB(path=folder / "index", dimensions=dimensions, fields={"lang": "str", "year": "int"})


def index(store: LanceDB, model: tm.Model | str, folder: Path) -> None:
    records = [{"id": key, "text": text, "lang": lang, "year": year} for key, (text, lang, year) in TEXTS.items()]
    stream = tm.from_iterable(records).embed(model, "text").index(store)
    assert stream.write(folder / "out", progress=False).records["landed"] == 3


def converse(tool: Any, *asked: dict[str, Any]) -> list[Any]:
    """The outcomes of an agent's calls of the tool."""
    replies = [ToolCalls((tool.name, arguments)) for arguments in asked] + ["Done."]

    def reply(request: Any) -> Any:
        return replies[sum(message["role"] == "assistant" for message in request.payload["messages"])]

    with FaultServer(reply=reply) as server:
        model = tm.model("openai/scripted", base_url=server.base_url, api_key="none")
        with tm.Agent(model, tools=[tool]) as agent:
            result = agent("Go on.")
    return [call.outcome for turn in result.turns for call in turn.calls]


def test_an_agent_finds_what_a_question_is_about(tmp_path: Path) -> None:
    """By meaning, not by words; filtered by what the model asks for; told without what it need not see."""
    store = make_store(tmp_path)
    index(store, "local/minilm", tmp_path)
    tool = vector_search(store, "local/minilm", count=2, by=["lang"], columns=["text", "lang"])
    found, filtered, wrong, unknown = converse(
        tool,
        {"query": "How do the sea's movements drive machines?"},
        {"query": "flour", "count": "1", "lang": "de"},
        {"query": "", "count": 99},
        {"query": "flour", "year": 1900},
    )
    assert found.value[0]["id"] == "mill"
    assert len(found.value) == 2
    assert found.value[0].keys() == {"id", "score", "text", "lang"}
    assert [each["id"] for each in filtered.value] == ["ship"]
    assert wrong.kind == unknown.kind == "invalid"
    assert "$.count" in wrong.content
    assert "$.query" in wrong.content
    assert "$.year" in unknown.content


def test_a_fixed_filter_holds_whatever_is_asked(tmp_path: Path) -> None:
    """And the model is not told of it; vectors of a model elsewhere."""
    with FaultServer() as server:
        model = tm.model("openai/embedding", base_url=server.base_url, api_key="none")
        dimensions = len(next(iter(tm.from_iterable([{"text": "a"}]).embed(model, "text")))["embedding"])
        store = make_store(tmp_path, dimensions)
        index(store, model, tmp_path)
        tool = vector_search(store, model, filter={"year": {"ge": 1800}, "lang": ["en"]}, name="find", count=9)
        (found,) = converse(tool, {"query": "anything"})
    assert [each["id"] for each in found.value] == ["bread"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"by": ["lng"]}, "the store has no field `lng`"),
        ({"by": ["lang"], "filter": {"lang": "en"}}, "`lang` is fixed"),
        ({"filter": {"yaer": 1900}}, "the store has no field `yaer`"),
        ({"filter": {"year": "1900"}}, "the field holds a whole number"),
        ({"model": "openai-typo/x"}, "unknown provider"),
        ({"count": 0}, "expected an integer"),
    ],
)
def test_settings_that_cannot_be_are_refused_when_it_is_made(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"model": "local/minilm", **wrong}
    with pytest.raises(ConfigError, match="1 error") as caught:
        vector_search(make_store(tmp_path), **given)
    assert message in caught.value.problems[0].message


def test_a_file_describes_it(tmp_path: Path) -> None:
    """As Python does; the store's folder is the file's."""
    settings = {"type": "lancedb", "path": "index", "dimensions": 384, "fields": {"lang": "str"}}
    described = {"vector_search": {"store": settings, "model": "local/minilm", "by": ["lang"], "count": 3}}
    (tmp_path / "agent.yaml").write_text(
        f"model: {{model: openai/any, base_url: 'http://far.invalid'}}\ntools: [{described}]\n"
    )
    agent = load_config(tm.Agent, tmp_path / "agent.yaml")
    (source,) = agent.list_sources()
    store = LanceDB(path=Path("index"), dimensions=384, fields={"lang": "str"})
    made = vector_search(store, "local/minilm", by=["lang"], count=3)
    assert source.describe_result() == made.describe_result()
