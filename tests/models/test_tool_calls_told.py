"""Tools for a model whose server has none: told in its prompt, called by replies that are held to a JSON Schema."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

import tidemill as tm
from tidemill.calls.wire import Response
from tidemill.errors import ConfigError
from tidemill.models.endpoints import find_headers, make_endpoint
from tidemill.models.formats.openai import ChatEndpoint
from tidemill.models.formats.told_tools import ToldTools
from tidemill.models.messages import Message, Reply, ToolCall
from tidemill.models.options import Options, ToolSpec
from tidemill.models.structured.plan import Abilities, plan_output
from tidemill.testing import FaultServer, chat_response

PORTS = {"Brest": "14:32", "Calais": "11:05", "Dover": "07:48"}
TIDE = ToolSpec(
    "get_tide",
    "Says when the tide is high in a port.",
    {
        "type": "object",
        "properties": {"port": {"enum": list(PORTS), "type": "string"}},
        "required": ["port"],
        "additionalProperties": False,
    },
)
CLOCK = ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}, "additionalProperties": False})
USER: Message = {"role": "user", "content": "When is high tide in Brest?"}
TURN: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "a", "name": "get_tide", "arguments": '{"port":"Brest"}'}],
}
NOTE = """\
You can call a tool.
get_tide: Says when the tide is high in a port.
Its arguments: {"port": text}
To call it, reply {"tool": "get_tide", "arguments": {…}}.
Once you have its result, reply {"answer": "…"}, with what the result says."""


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    within: Place | None = None


class Route(BaseModel):
    """A tool's arguments with definitions, one of which holds itself."""

    model_config = ConfigDict(extra="forbid")
    places: list[Place] = Field(min_length=1, max_length=2)
    by: Literal["sea", "land"]


def told(*tools: ToolSpec, is_local: bool = True, url: str = "http://far/v1", **options: Any) -> ToldTools:
    """An endpoint of a model that is told of tools."""
    return ToldTools(
        lambda plain: ChatEndpoint(url, "m", {}, plain), Options(tools=tools, **options), is_local=is_local
    )


def build(endpoint: ToldTools, *messages: Message, **overrides: Any) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(endpoint.build_request(messages or [USER], overrides or None).body)
    return body


def schema_of(body: Mapping[str, Any]) -> Any:
    return body["response_format"]["json_schema"]["schema"]


def kinds_of(body: Mapping[str, Any]) -> list[str]:
    """What a reply may be, by the request's schema."""
    schema = schema_of(body)
    parts = schema.get("anyOf", [schema])
    return [part["properties"].get("tool", {"const": "answer"})["const"] for part in parts]


def read(text: str, reason: str = "stop") -> Reply:
    return told(TIDE).parse_reply(chat_response(text, usage=None, finish_reason=reason))


def test_the_prompt_tells_of_tools_and_the_reply_is_a_call_or_an_answer() -> None:
    """No word of tools is left for the server; of the rest of the options nothing is lost."""
    body = build(told(TIDE, temperature=0, max_tokens=9))
    assert body["messages"] == [{"role": "system", "content": NOTE}, USER]
    assert set(body) == {"model", "messages", "temperature", "max_tokens", "response_format"}
    call = {
        "type": "object",
        "properties": {"tool": {"const": "get_tide"}, "arguments": TIDE.parameters},
        "required": ["tool", "arguments"],
        "additionalProperties": False,
    }
    assert schema_of(body)["anyOf"][0] == call
    assert schema_of(body)["anyOf"][1]["properties"] == {"answer": {"type": "string", "minLength": 1}}


def test_a_system_prompt_has_the_note_in_front_of_it() -> None:
    """Behind it, small models lose sight of their tools."""
    request = told(TIDE).build_request([{"role": "system", "content": "Be kind.", "shared": True}, USER])
    assert orjson.loads(request.body)["messages"][0] == {"role": "system", "content": f"{NOTE}\n\nBe kind."}


def test_a_model_elsewhere_is_told_the_whole_schema() -> None:
    """It reads it; a small one copies the first choice it is told."""
    body = build(told(TIDE, CLOCK, is_local=False))
    text = body["messages"][0]["content"]
    assert orjson.dumps(TIDE.parameters).decode() in text
    assert "You can call these tools, one at a time." in text


def test_the_shape_of_arguments_is_told_in_words() -> None:
    class Depth(BaseModel):
        metres: float

    class Given(BaseModel):
        count: int
        is_spring: bool = False
        depth: Depth | None = None
        names: list[str] = Field(description="Of buoys.")
        at: Literal[1, 2] | str = "x"
        extra: Any = None

    body = build(told(ToolSpec("find", "Finds.", Given.model_json_schema())))
    lines = body["messages"][0]["content"].splitlines()
    assert lines[2] == (
        'Its arguments: {"count": whole number, "is_spring": true or false, "depth": object, '
        '"names": [text, …], "at": whole number or text, "extra": anything}'
    )
    assert lines[3] == "- names: Of buoys."


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        (None, ["get_tide", "clock", "answer"]),
        ("auto", ["get_tide", "clock", "answer"]),
        ("required", ["get_tide", "clock"]),
        ("clock", ["clock"]),
        ("none", ["answer"]),
    ],
)
def test_a_choice_of_tools_is_held_to(choice: str | None, kinds: list[str]) -> None:
    """For all requests, and for one of them beside other options of its own."""
    assert kinds_of(build(told(TIDE, CLOCK, tool_choice=choice))) == kinds
    body = build(told(TIDE, CLOCK), tool_choice=choice, temperature=1.5, top_k=3)
    assert kinds_of(body) == kinds
    assert (body["temperature"], body["top_k"]) == (1.5, 3)
    assert body["messages"] == build(told(TIDE, CLOCK))["messages"]


def test_the_tools_may_be_others_in_one_request() -> None:
    endpoint = told(TIDE)
    assert kinds_of(build(endpoint, tools=(CLOCK,))) == ["clock", "answer"]
    assert kinds_of(build(endpoint)) == ["get_tide", "answer"]


def test_a_choice_of_no_tool_is_refused() -> None:
    with pytest.raises(ConfigError, match="tool_choice is `get_tides`, and no tool is called so"):
        build(told(TIDE), tool_choice="get_tides")
    with pytest.raises(ConfigError, match="several tools are called `clock`"):
        told(CLOCK, CLOCK)


def test_calls_and_results_are_told_as_turns_of_text() -> None:
    """What the user says behind results stands in one turn with them: templates want turns to alternate."""
    two: Message = {
        **TURN,
        "content": "Hm.",
        "tool_calls": [*TURN["tool_calls"], {"id": "b", "name": "x", "arguments": "{"}],
    }
    turns: list[Message] = [
        USER,
        TURN,
        {"role": "tool", "content": "High tide at 14:32", "call_id": "a"},
        two,
        {"role": "tool", "content": [{"type": "text", "text": "late"}], "call_id": "a"},
        {"role": "tool", "content": "no such\ntool", "call_id": "b", "is_error": True},
        {"role": "user", "content": "Answer now."},
        {"role": "assistant", "content": "At 14:32."},
        USER,
    ]
    assert build(told(TIDE), *turns)["messages"][1:] == [
        USER,
        {"role": "assistant", "content": '{"tool": "get_tide", "arguments": {"port": "Brest"}}'},
        {"role": "user", "content": "The result of get_tide: High tide at 14:32"},
        {
            "role": "assistant",
            "content": 'Hm.\n{"tool": "get_tide", "arguments": {"port": "Brest"}}\n{"tool": "x", "arguments": "{"}',
        },
        {
            "role": "user",
            "content": "The result of get_tide: late\n\nThe result of x:\nno such\ntool\n\nAnswer now.",
        },
        {"role": "assistant", "content": '{"answer": "At 14:32."}'},
        USER,
    ]


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ('{"answer": "At 14:32."}', Reply("At 14:32.", "stop")),
        ('{"answer": {"hour": 14}}', Reply('{"hour":14}', "stop")),
        (
            '{\n  "tool": "get_tide", "arguments": {"port": "Brest"}}',
            Reply("", "stop", tool_calls=(ToolCall(id="call_1", name="get_tide", arguments='{"port":"Brest"}'),)),
        ),
        ("At 14:32.", Reply("At 14:32.", "stop")),
        ("[1]", Reply("[1]", "stop")),
        ('{"tool": 3, "arguments": {}}', Reply('{"tool": 3, "arguments": {}}', "stop")),
        ('{"answer": "a", "more": 1}', Reply('{"answer": "a", "more": 1}', "stop")),
    ],
)
def test_a_reply_is_a_call_an_answer_or_what_the_model_wrote(text: str, reply: Reply) -> None:
    assert read(text) == reply


@pytest.mark.parametrize(
    ("text", "said", "arguments"),
    [
        ('{"answer": "At 14', "At 14", None),
        ('{"tool": "get_tide", "arguments": {"port": "Br', "", '{"port": "Br'),
        ('{"tool": "get_tide", "arguments": {"port": "Brest"', "", '{"port": "Brest"'),
        ('{"tool": "get_tide", "argum', '{"tool": "get_tide", "argum', None),
        ('{"answer": {"hour": 1', '{"answer": {"hour": 1', None),
    ],
)
def test_a_cut_reply_is_never_completed(text: str, said: str, arguments: str | None) -> None:
    """Its text is what there is of it, and arguments stay no JSON, so that no tool is called with half of them."""
    reply = read(text, "length")
    assert reply.is_cut
    assert reply.text == said
    assert [call["arguments"] for call in reply.tool_calls] == ([] if arguments is None else [arguments])


@given(text=st.text(), places=st.lists(st.integers(0, 9000), max_size=9), size=st.integers(1, 5))
def test_an_answer_is_given_as_it_comes_however_it_is_cut(text: str, places: list[int], size: int) -> None:
    """All of it, and nothing of its JSON; of a call its arguments, as the model wrote them."""
    for value, expected in (({"answer": text}, text), ({"tool": "get_tide", "arguments": {"port": text}}, "")):
        for written in (orjson.dumps(value).decode(), escape(value)):
            pieces = [written[start : start + size] for start in range(0, len(written), size)]
            chunks = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
            last = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
            body = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in [*chunks, last])
            bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
            stream = told(TIDE).open_stream()
            shown = arguments = ""
            for start, stop in itertools.pairwise(bounds):
                shown += stream.feed(body[start:stop])
                arguments += stream.take_arguments()
            assert shown == stream.reply().text == expected
            assert arguments == ("" if "answer" in value else written.partition('"arguments":')[2].strip()[:-1])
            assert stream.reply() == read(written)


def escape(value: Any) -> str:
    """JSON with every character beyond ASCII escaped, in halves of a pair where it needs two."""
    return json.dumps(value)


@pytest.mark.parametrize("is_local", [True, False])
def test_definitions_of_tools_and_answer_stand_side_by_side(server: FaultServer, is_local: bool) -> None:
    """One of them holds itself, and two have one name; what conforms to the whole conforms to each."""
    route = ToolSpec("route", "Finds a route.", Route.model_json_schema())
    place = ToolSpec("place", "Looks at a place.", Place.model_json_schema())
    plan = plan_output(Route, Abilities("llama.cpp" if is_local else "openai"))
    endpoint = told(route, place, is_local=is_local, url=server.base_url, output=plan)
    seen: set[str] = set()
    kinds: dict[str, type[BaseModel]] = {"route": Route, "place": Place}
    for number in range(60):
        reply = ask(endpoint, [{"role": "user", "content": f"question {number}"}])
        if reply.tool_calls:
            (call,) = reply.tool_calls
            kinds[call["name"]].model_validate_json(call["arguments"])
            seen.add(call["name"])
        else:
            Route.model_validate_json(reply.text)
            seen.add("answer")
    assert seen == {"route", "place", "answer"}


def ask(endpoint: Any, messages: Sequence[Message], overrides: Mapping[str, Any] | None = None) -> Reply:
    """The reply of a server on loopback."""
    request = endpoint.build_request(messages, overrides)
    connection = http.client.HTTPConnection(urlsplit(request.url).netloc, timeout=60)
    connection.request("POST", urlsplit(request.url).path, request.body, {**request.headers, "connection": "close"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    reply: Reply = endpoint.parse_reply(Response(200, {}, body))
    return reply


def test_a_model_s_tools_are_told_where_its_server_has_none() -> None:
    """In process; elsewhere natively, and either way where the model says so."""
    options = Options(tools=(TIDE,), max_tokens=9)

    def is_told(model: tm.Model, options: Options = options) -> bool:
        body = make_endpoint(model, find_headers(model, Path()), options).build_request([USER]).body
        return b"tools" not in orjson.loads(body) and b"You can call a tool" in body

    far = {"base_url": "http://far/v1", "api_key": "none"}
    assert is_told(tm.model("local/smollm2"))
    assert not is_told(tm.model("local/smollm2"), Options())
    assert not is_told(tm.model("local/smollm2", tools="native"))
    assert not is_told(tm.model("openai/any", **far))  # type: ignore[arg-type]
    assert is_told(tm.model("openai/any", tools="told", **far))  # type: ignore[arg-type]
    assert is_told(tm.model("anthropic/any", tools="told", **far))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tools"):
        tm.model("openai/any", tools="tell", **far)  # type: ignore[arg-type]


def test_told_tools_work_in_anthropic_s_format(server: FaultServer) -> None:
    """The schema is a part of the system prompt there."""
    model = tm.model("anthropic/any", base_url=server.base_url, api_key="none", tools="told")
    endpoint = make_endpoint(model, find_headers(model, Path()), Options(tools=(TIDE,), max_tokens=99))
    replies = [ask(endpoint, [{"role": "user", "content": f"question {number}"}]) for number in range(20)]
    called = [call for reply in replies for call in reply.tool_calls]
    assert {orjson.loads(call["arguments"])["port"] for call in called} <= set(PORTS)
    assert 0 < len(called) < 20


@pytest.mark.parametrize("port", ["Brest", "Dover"])
def test_the_embedded_model_calls_a_tool_and_answers_with_its_result(local_url: str, port: str) -> None:
    """Asked twice, the second time for its answer alone. The schema knows nothing of the result."""
    endpoint = told(TIDE, url=local_url, temperature=0, max_tokens=40)
    asked: list[Message] = [{"role": "user", "content": f"When is high tide in {port}?"}]
    first = ask(endpoint, asked)
    (call,) = first.tool_calls
    assert (call["name"], orjson.loads(call["arguments"])) == ("get_tide", {"port": port})
    result: Message = {"role": "tool", "content": f"High tide at {PORTS[port]}", "call_id": call["id"]}
    last = ask(endpoint, [*asked, first.to_message(), result], {"tool_choice": "none"})
    assert not last.tool_calls
    assert PORTS[port] in last.text
