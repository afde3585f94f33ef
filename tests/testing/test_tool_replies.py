"""Scripted models that ask to have tools called, in both wire formats, whole and streamed, and wherever they run."""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from toolreplies import search_then_answer

import tidemill as tm
import tidemill.testing
from tidemill.calls.wire import Response
from tidemill.config.loading import load_config
from tidemill.models.endpoints import find_headers, make_endpoint
from tidemill.models.messages import Message, Reply
from tidemill.models.options import Options, ToolSpec
from tidemill.testing import Call, Fault, FaultProcess, Faults, FaultServer, ToolCalls, chat_response
from tidemill.testing.board import Board
from tidemill.testing.mock import MockPlan

SEARCH = ToolSpec(
    "search",
    "Search the web.",
    {
        "type": "object",
        "properties": {"q": {"type": "string"}, "most": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["q", "most"],
        "additionalProperties": False,
    },
)
CLOCK = ToolSpec("clock", "Tell the time.", {"type": "object", "properties": {}})
USER: Message = {"role": "user", "content": "tides"}
OPTIONS = Options(max_tokens=50, tools=(SEARCH, CLOCK))
FORMATS = pytest.mark.parametrize("provider", ["openai", "anthropic"])


def ask(url: str, provider: str, messages: Sequence[Message] = (USER,), options: Options = OPTIONS) -> Reply:
    """The reply of the server at `url` in that provider's format."""
    model = tm.model(f"{provider}/any", base_url=url, api_key="none")
    endpoint = make_endpoint(model, find_headers(model, Path()), options)
    request = endpoint.build_request(messages)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("POST", urlsplit(request.url).path, request.body, {**request.headers, "connection": "close"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return endpoint.parse_reply(Response(response.status, {}, body))


def read(reply: Reply) -> list[tuple[str, Any]]:
    return [(call["name"], orjson.loads(call["arguments"])) for call in reply.tool_calls]


def answer(reply: Reply, *results: str) -> list[Message]:
    """The conversation that goes on with these results."""
    told = zip(reply.tool_calls, results, strict=True)
    return [USER, reply.to_message(), *(Message(role="tool", content=text, call_id=call["id"]) for call, text in told)]


@FORMATS
@pytest.mark.parametrize("stream", [False, True])
def test_a_function_may_ask_to_have_tools_called(provider: str, stream: bool) -> None:
    """It sees their results in one way, whatever the format; usage is told as of a text."""
    with FaultServer(reply=search_then_answer) as server:
        options = OPTIONS.override({"stream": stream})
        first = ask(server.base_url, provider, options=options)
        assert read(first) == [("search", {"q": "tides"}), ("search", {"q": "more"})]
        assert (first.text, first.finish_reason in ("tool_calls", "tool_use")) == ("Let me see.", True)
        assert first.usage is not None
        assert first.usage.output_tokens == 12
        assert len({call["id"] for call in first.tool_calls}) == 2
        second = ask(server.base_url, provider, answer(first, "a", "b"), options)
        assert (second.text, second.tool_calls) == ("found a and b", ())


@FORMATS
def test_the_same_request_gets_the_same_ids(provider: str) -> None:
    """Another one gets others."""
    with FaultServer(reply=search_then_answer) as server:
        first, second = ask(server.base_url, provider), ask(server.base_url, provider)
        other = ask(server.base_url, provider, [{**USER, "content": "ebb"}])
    assert first.tool_calls == second.tool_calls
    assert first.tool_calls[0]["id"] != other.tool_calls[0]["id"]


def test_a_loop_reads_what_it_asked_before_from_anthropic_s_cache() -> None:
    """Each request all of the one before it."""
    with FaultServer(reply=search_then_answer) as server:
        first = ask(server.base_url, "anthropic")
        second = ask(server.base_url, "anthropic", answer(first, "a", "b"))
    assert first.usage is not None
    assert second.usage is not None
    assert first.usage.cached_tokens == 0
    assert first.usage.cache_write_tokens == second.usage.cached_tokens > 0


@FORMATS
def test_a_function_is_found_by_a_server_of_another_process(provider: str) -> None:
    """Given itself or its import path."""
    path = "toolreplies:search_then_answer"
    with FaultProcess(reply=search_then_answer) as server:
        assert ask(server.base_url, provider).text == "Let me see."
    with FaultServer(reply=search_then_answer) as here, FaultProcess(reply=search_then_answer) as there:
        assert ask(here.base_url, provider) == ask(there.base_url, provider)
    plan = load_config(MockPlan, {"reply": path})
    assert plan.reply is search_then_answer


def test_a_function_without_an_import_path_cannot_go_to_another_process() -> None:
    with pytest.raises(tm.ConfigError, match="has no import path"):
        FaultProcess(reply=lambda call: "text")


@FORMATS
def test_a_plan_may_ask_to_have_tools_called(provider: str) -> None:
    """Also one that crosses to another process; ill-formed arguments come as they are."""
    fault = Fault("reply", tool_calls=[("search", {"q": "x"}), ("clock", {})])
    faults = Faults(matching=[("tides", fault), ("ebb", Fault("reply", tool_calls=[("clock", "{oh")]))])
    streamed = OPTIONS.override({"stream": True})
    with FaultServer(faults=Faults.from_json(faults.to_json())) as server:
        assert read(ask(server.base_url, provider)) == [("search", {"q": "x"}), ("clock", {})]
        ill = ask(server.base_url, provider, [{**USER, "content": "ebb"}], streamed)
        assert ill.tool_calls[0]["arguments"] == "{oh"


@FORMATS
@pytest.mark.parametrize("choice", ["required", "search"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is(server: FaultServer, provider: str, choice: str, stream: bool) -> None:
    """With arguments that conform to its schema and follow from the request."""
    options = OPTIONS.override({"tool_choice": choice, "stream": stream})
    reply = ask(server.base_url, provider, options=options)
    ((name, arguments),) = read(reply)
    assert name == "search"
    assert 1 <= arguments["most"] <= 9
    assert isinstance(arguments["q"], str)
    assert reply.tool_calls == ask(server.base_url, provider, options=options).tool_calls
    assert not ask(server.base_url, provider).tool_calls


@FORMATS
def test_faults_spoil_calls_as_they_do_texts(server: FaultServer, provider: str) -> None:
    """Arguments that do not fit, that are cut, and a refusal in the place of a call."""
    options = OPTIONS.override({"tool_choice": "required", "stream": True})
    server.faults = Faults(matching=[("tides", Fault("invalid"))])
    assert isinstance(read(ask(server.base_url, provider, options=options))[0][1]["q"], dict)
    server.faults = Faults(matching=[("tides", Fault("truncated"))])
    cut = ask(server.base_url, provider, options=options)
    assert cut.is_cut
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut.tool_calls[0]["arguments"])
    server.faults = Faults(matching=[("tides", Fault("refusal"))])
    refused = ask(server.base_url, provider, options=options)
    assert not refused.tool_calls


@pytest.mark.parametrize(
    ("provider", "payload", "told"),
    [
        ("openai", {"tool_choice": "auto"}, "only allowed when tools"),
        ("anthropic", {"tool_choice": {"type": "auto"}}, "only be specified while providing tools"),
    ],
)
def test_a_choice_without_tools_is_refused(
    server: FaultServer, provider: str, payload: Mapping[str, Any], told: str
) -> None:
    with pytest.raises(AssertionError, match=told):
        ask(server.base_url, provider, options=Options(max_tokens=5, params=payload))


@FORMATS
@pytest.mark.parametrize(
    "turns",
    [
        [USER, {"role": "tool", "content": "a", "call_id": "x"}],
        [USER, {"role": "assistant", "content": "", "tool_calls": [{"id": "x", "name": "a", "arguments": "{}"}]}, USER],
        [USER, {"role": "assistant", "content": "", "tool_calls": [{"id": "x", "name": "a", "arguments": "{}"}]}],
    ],
    ids=["a result of no call", "gone on from", "the end"],
)
def test_calls_and_results_that_do_not_meet_are_refused(
    server: FaultServer, provider: str, turns: list[Message]
) -> None:
    """As providers refuse them."""
    with pytest.raises(AssertionError, match=r"a result of|no results of"):
        ask(server.base_url, provider, turns)


def test_a_response_may_have_calls() -> None:
    response = chat_response("Hm.", tool_calls=[("search", {"q": "x"})])
    choice = orjson.loads(response.body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Hm."
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"q":"x"}'}
    assert chat_response("", tool_calls=[("a", {})]) != chat_response("", tool_calls=[("b", {})])


def test_a_rehearsed_step_may_be_answered_by_calls() -> None:
    """What is asked afterwards has their results."""
    notes = tm.from_iterable([{"text": "x"}]).generate("openai/any", "Note: {{ text }}", into="note")
    seen = tidemill.testing.run(notes, {"generate": ToolCalls(("search", {"q": "x"}), text="Hm.")})
    assert seen.records[0]["note"] == "Hm."
    assert seen.calls["generate"][0].results == []


def test_results_are_read_from_both_formats() -> None:
    """Those of the turn that a request ends with, parts joined; none where it ends with another."""
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    chat = [{"role": "tool", "content": "old"}, {"role": "assistant"}, {"role": "tool", "content": "a"}]
    chat.append({"role": "tool", "content": parts})  # type: ignore[dict-item]
    blocks = [
        {"type": "tool_result", "content": "a"},
        {"type": "tool_result", "content": parts},
        {"type": "tool_result"},
    ]
    assert call_of(chat).results == ["a", "bc"]
    assert call_of([{"role": "user", "content": "x"}, {"role": "user", "content": blocks}]).results == ["a", "bc", ""]
    assert call_of([{"role": "user", "content": "x"}, {"role": "user", "content": blocks}]).message == "x"
    assert call_of([*chat, {"role": "user", "content": "x"}]).results == []


def call_of(messages: Sequence[Mapping[str, Any]]) -> Call:
    return Call(1, 1, "/", {}, orjson.dumps({"messages": messages}))


def test_a_board_bills_calls_by_their_characters() -> None:
    """Names and arguments count as output."""
    board = Board(reply=lambda call: ToolCalls(("a" * 40, "{}"), text="b" * 38))
    form = board.find_format(b"/v1/chat/completions")
    assert form is not None
    body = orjson.dumps({"messages": [USER]})
    board.receive(form, b"/v1/chat/completions", b"POST / HTTP/1.1\r\n", body, 0.0)
    assert board.counters.output_tokens == 20


@pytest.mark.parametrize("wrong", [None, 5, {"content": "text"}, ["text"]])
def test_what_is_no_reply_is_the_test_s_own_mistake(wrong: Any) -> None:
    """Told where the test can see it, not as if the client had asked for something odd."""

    def give_wrong() -> None:
        with FaultServer(reply=lambda call: wrong) as server:
            connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=60)
            body = orjson.dumps({"model": "any", "messages": [USER]})
            connection.request("POST", "/v1/chat/completions", body, {"connection": "close"})
            assert connection.getresponse().status == 500
            connection.close()

    with pytest.raises(TypeError, match=r"`reply` gives a text or ToolCalls\(…\), got"):
        give_wrong()


def test_calls_of_tools_are_pairs() -> None:
    with pytest.raises(TypeError, match="each call is a pair, its name and its arguments"):
        ToolCalls("search", {"q": "tide"})  # type: ignore[arg-type]
