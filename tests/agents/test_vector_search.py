"""`vector_search`: an agent finds what a real store holds, by a real embedding model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill.agents import vector_search
from tidemill.config.loading import load_config
from tidemill.errors import ConfigError
from tidemill.stores.lance.settings import LanceDB
from tidemill.testing import FaultServer, ToolCalls
from tidemill.testing.faults import Fault, Faults

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


@pytest.mark.usefixtures("lance_opened_once")
def test_a_store_that_holds_nothing_is_told(tmp_path: Path) -> None:
    """The model must not take a mistyped place for an answer."""
    tool = vector_search(make_store(tmp_path), "local/minilm")
    (found,) = converse(tool, {"query": "anything"})
    assert found.kind == "error"
    assert f"the store holds no record to find: vectors in {tmp_path}" in found.content


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


@pytest.fixture
def vectors() -> Iterator[FaultServer]:
    """Where the embedding model is."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def chat() -> Iterator[FaultServer]:
    """Where the agent's model is, which searches once and answers."""
    with FaultServer(reply=search_once) as server:
        yield server


QUERY = "flour " * 66
"""Of 99 tokens in 396 bytes."""


def search_once(request: Any) -> Any:
    asked = sum(message["role"] == "assistant" for message in request.payload["messages"])
    return "Done." if asked else ToolCalls(("vector_search", {"query": QUERY}))


def make_searcher(folder: Path, chat: FaultServer, vectors: FaultServer, **given: Any) -> tm.Agent:
    """An agent that asks both, over a store with the texts."""
    limits = tm.Limits.model_validate({"concurrency": 1})
    embedding = tm.model(
        "openai/far",
        base_url=vectors.base_url,
        api_key="none",
        limits=limits,
        price=given.pop("price", tm.Price(100, 0)),
    )
    dimensions = len(next(iter(tm.from_iterable([{"text": "a"}]).embed(embedding, "text")))["embedding"])
    store = make_store(folder, dimensions)
    index(store, embedding, folder)
    vectors.reset()
    model = tm.model("openai/near", base_url=chat.base_url, api_key="none", price=tm.Price(1, 1))
    return tm.Agent(model, tools=[vector_search(store, embedding)], max_tokens=50, **given)


def test_vectors_of_a_model_elsewhere_go_by_the_run_s_engine(
    tmp_path: Path, chat: FaultServer, vectors: FaultServer
) -> None:
    """Under the model's limits, tried again as any call is, counted in the report and held against the job's budget."""
    agent = make_searcher(tmp_path, chat, vectors)
    vectors.latency_s = 0.01
    vectors.faults = Faults(script=lambda call: Fault("status", status=500) if call.number == 1 else None)
    stream = tm.from_iterable([{"id": number} for number in range(8)]).agent(agent, "Find flour ({{ id }}).")
    report = stream.write(tmp_path / "answers", budget=tm.Budget(usd=1), progress=False)
    assert report.records["landed"] == 8
    assert (vectors.requests, vectors.max_in_flight) == (9, 1)
    shares = report.to_dict()["calls"]["shares"]
    assert shares["agent/agent/vector_search/embed"]["calls"] == 8
    assert shares["agent/agent/vector_search/embed"]["input_tokens"] == vectors.stats()["input_tokens"]
    assert shares["agent/agent/vector_search"]["counts"] == {"ok": 8}


def test_a_job_s_budget_bounds_what_its_agents_search_for(
    tmp_path: Path, chat: FaultServer, vectors: FaultServer
) -> None:
    """At 1 USD for a token: each vector costs 99, and may cost its request's bytes, for which no room is left then."""
    agent = make_searcher(tmp_path, chat, vectors, price=tm.Price(1_000_000, 0))
    stream = tm.from_iterable([{"id": number} for number in range(8)]).agent(agent, "Find flour ({{ id }}).")
    report = stream.write(tmp_path / "answers", budget=tm.Budget(usd=600), progress=False)
    assert "the budget allows no further call" in str(report.reason)
    assert (report.exit_code, vectors.requests) == (3, 2)


def test_an_agent_s_budget_counts_the_vectors_it_has_made(
    tmp_path: Path, chat: FaultServer, vectors: FaultServer
) -> None:
    """Each is a request to a model: three make an answer; where there is no room for one, none is sent."""
    for calls, stop, requests in [(3, "finished", 1), (2, "budget", 1), (1, "budget", 0)]:
        with make_searcher(tmp_path / str(calls), chat, vectors, budget=tm.Budget(calls=calls)) as agent:
            result = agent("Find flour.")
        assert (result.stop_reason, vectors.requests) == (stop, requests)


def test_a_price_and_a_key_that_are_missing_are_found_before_anything_runs(
    tmp_path: Path, chat: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tool's model as of any other."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = tm.model("openai/near", base_url=chat.base_url, api_key="none", price=tm.Price(1, 1))
    tool = vector_search(make_store(tmp_path), tm.model("openai/some-embedding"))
    agent = tm.Agent(model, tools=[tool], max_tokens=50)
    with pytest.raises(ConfigError, match="2 errors") as caught:
        tm.from_iterable([{"id": 1}]).agent(agent, "Find {{ id }}.").write(
            tmp_path / "out", budget=tm.Budget(usd=1), progress=False
        )
    told = "\n".join(problem.message for problem in caught.value.problems)
    assert "`openai/some-embedding` needs a key, and OPENAI_API_KEY is not set" in told
    assert "budget.usd needs the price of `openai/some-embedding`" in told
    with pytest.raises(ConfigError, match="1 error") as caught:
        tm.Agent(model, tools=[tool], max_tokens=50, budget=tm.Budget(usd=1))
    assert "that of `openai/some-embedding` is not known" in caught.value.problems[0].message


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


def test_a_store_that_the_model_s_vectors_do_not_fit_is_told(tmp_path: Path, chat: FaultServer) -> None:
    """By a job's check, and by the first run of an agent by itself: nothing could be found."""
    told = "the model of `vector_search` makes vectors of 384 numbers, and its store's have 7"
    model = tm.model("test/near", base_url=chat.base_url)
    with tm.Agent(model, tools=[vector_search(make_store(tmp_path, 7), "local/minilm")]) as agent:
        with pytest.raises(ConfigError, match="1 error") as caught:
            tm.from_iterable([{"id": 1}]).agent(agent, "Find {{ id }}.").write(tmp_path / "out", progress=False)
        assert [problem.hint for problem in caught.value.problems] == ["dimensions: 384"]
        assert told in caught.value.problems[0].message
        with pytest.raises(ConfigError, match=re.escape(told)):
            agent("Find flour.")
    assert chat.requests == 0


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
