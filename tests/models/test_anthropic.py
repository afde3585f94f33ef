"""The Anthropic wire format: the bytes of a request, and what becomes of each kind of response."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import orjson
import pytest
from anthropic import transform_schema
from anthropic.types import Message as TheirMessage
from pydantic import BaseModel, Field

import tidemill as tm
from tidemill.calls.wire import Response, Usage
from tidemill.errors import CallError, ConfigError, PermanentCallError, TransientCallError
from tidemill.models.endpoints import make_endpoint
from tidemill.models.formats.anthropic import MAX_IMAGE_TOKENS, MessagesEndpoint, parse_reply
from tidemill.models.messages import Message, Part, Reply
from tidemill.models.options import Options
from tidemill.models.steps.generate import Generate
from tidemill.models.steps.generator import Generator
from tidemill.models.structured.dialects.table import adapt
from tidemill.models.structured.plan import Abilities, plan_output
from tidemill.models.structured.schemas import reply_schema
from tidemill.testing import FaultServer

LONG = "Be kind. " * 100


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40, description="In a word")


def make(options: Options | None = None, **fields: Any) -> MessagesEndpoint:
    return MessagesEndpoint("http://far/v1", "claude", {"x-api-key": "k"}, options or Options(max_tokens=5), **fields)


def asking(output: Any, *, holds_schemas: bool = True, calls_tools: bool = True, **options: Any) -> Options:
    """Options that ask a Claude for such a reply."""
    plan = plan_output(output, Abilities("anthropic", holds_schemas, calls_tools))
    return plan.add_to(Options(max_tokens=5, **options))


def ask(text: str = "a") -> list[Message]:
    return [{"role": "user", "content": text}]


def body_of(endpoint: MessagesEndpoint, messages: list[Message], **overrides: Any) -> Any:
    return orjson.loads(endpoint.build_request(messages, overrides).body)


def test_the_request_to_the_letter() -> None:
    options = Options(max_tokens=5, temperature=0.5, top_p=0.9, stop=("\n",), stream=True, params={"top_k": 3})
    request = make(options).build_request([{"role": "system", "content": "Be kind."}, *ask('say "é"')])
    assert request.url == "http://far/v1/messages"
    assert request.headers == {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "k",
    }
    assert request.body.decode() == (
        '{"model":"claude","max_tokens":5,"temperature":0.5,"top_p":0.9,"stop_sequences":["\\n"],"stream":true,"top_k":3,'
        '"system":[{"type":"text","text":"Be kind."}],"messages":[{"role":"user","content":"say \\"é\\""}]}'
    )
    assert (request.max_output_tokens, request.max_input_tokens) == (5, None)


def test_a_request_may_have_options_of_its_own() -> None:
    endpoint = make()
    assert body_of(endpoint, ask(), max_tokens=9, top_k=4)["max_tokens"] == 9
    assert endpoint.build_request(ask(), {"max_tokens": 9}).max_output_tokens == 9
    assert body_of(endpoint, ask())["max_tokens"] == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(), "needs max_tokens, and none is set"),
        (Options(max_tokens=5, seed=7), "has no seed"),
    ],
)
def test_what_the_format_cannot_say_is_told(options: Options, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(options).build_request(ask())
    assert make(Options()).build_request(ask(), {"max_tokens": 3}).max_output_tokens == 3


def test_the_prefix_that_all_requests_share_is_marked_once_at_its_end() -> None:
    """One mark covers all before it: system prompt and few-shot turns."""
    messages: list[Message] = [
        {"role": "system", "content": LONG, "shared": True},
        {"role": "user", "content": "Two?", "shared": True},
        {"role": "assistant", "content": "2", "shared": True},
        *ask("Three?"),
    ]
    body = body_of(make(), messages)
    assert body["system"] == [{"type": "text", "text": LONG}]
    assert body["messages"][1]["content"] == [{"type": "text", "text": "2", "cache_control": {"type": "ephemeral"}}]
    assert body["messages"][2]["content"] == "Three?"
    assert orjson.dumps(body).count(b"cache_control") == 1


def test_nothing_is_marked_that_is_not_shared_or_too_short_or_not_wanted() -> None:
    """What no later request repeats would be written to the cache for nothing, at more than plain input costs."""
    shared: Message = {"role": "system", "content": LONG, "shared": True}
    own: Message = {"role": "system", "content": LONG}
    short: Message = {"role": "system", "content": "Be kind.", "shared": True}
    assert b"cache_control" in make().build_request([shared, *ask()]).body
    for endpoint, message in ((make(), own), (make(), short), (make(caches=False), shared)):
        assert b"cache_control" not in endpoint.build_request([message, *ask()]).body


@pytest.mark.parametrize(("text", "is_marked"), [("x" * 484, False), ("x" * 485, True), ("é" * 243, True)])
def test_what_a_step_shares_is_marked_from_512_bytes_on(text: str, *, is_marked: bool) -> None:
    """Counted as it is sent, `[{"type":"text","text":"…"}]`: fewer bytes are fewer tokens than any model caches."""
    node = Generate(model="anthropic/claude", system=text, prompt="{{ text }}", max_tokens=5)
    request = Generator(node, make()).build_request({"text": "a"})
    assert (b"cache_control" in request.body) is is_marked


def test_the_mark_stands_in_front_of_the_record_s_own_images() -> None:
    """They are another record's in the next request, though all the words around them are the same."""
    turns = [
        {"role": "system", "content": LONG},
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "It is"},
    ]
    node = Generate(model="anthropic/claude", messages=turns, images=("photo",), max_tokens=5)
    body = orjson.loads(Generator(node, make()).build_request({"photo": "https://far/a.png"}).body)
    assert body["system"] == [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    assert orjson.dumps(body).count(b"cache_control") == 1


def test_images_go_by_address_or_whole() -> None:
    near, far = "data:image/png;base64,AAAA", "https://far/a.png"
    parts: list[Part] = [{"type": "image", "url": near}, {"type": "image", "url": far}, {"type": "text", "text": "?"}]
    request = make().build_request([{"role": "user", "content": parts}])
    assert orjson.loads(request.body)["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": far}},
        {"type": "text", "text": "?"},
    ]
    assert request.max_input_tokens is not None
    assert 2 * MAX_IMAGE_TOKENS < request.max_input_tokens < 2 * MAX_IMAGE_TOKENS + len(request.body)


def test_a_schema_is_enforced_by_the_endpoint_as_far_as_it_can() -> None:
    """The rest is told in descriptions, and checked when the reply is there."""
    request = make(asking(Label)).build_request(ask())
    body = orjson.loads(request.body)
    assert body["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {
                    "sentiment": {"enum": ["positive", "negative"], "type": "string"},
                    "topic": {"type": "string", "description": "In a word\n\n{maxLength: 40}"},
                },
                "required": ["sentiment", "topic"],
                "additionalProperties": False,
            },
        }
    }
    assert "system" not in body
    assert request.max_input_tokens is not None
    assert request.max_input_tokens > len(request.body)


def test_effort_and_schema_go_together() -> None:
    options = asking(Label, params={"output_config": {"effort": "low"}})
    config = body_of(make(options), ask())["output_config"]
    assert config["effort"] == "low"
    assert config["format"]["type"] == "json_schema"


class Open(BaseModel):
    scores: dict[str, int]


class Tree(BaseModel):
    children: list[Tree] = []


class Pair(BaseModel):
    both: tuple[int, str]


class Color(Enum):
    RED = "red"
    BLUE = 3


class Cat(BaseModel):
    kind: Literal["cat"]
    name: str = Field(pattern="^[A-Z]")


class Dog(BaseModel):
    kind: Literal["dog"]
    at: str = Field(json_schema_extra={"format": "date-time"})


class Pets(BaseModel):
    pets: list[Cat | Dog] = Field(min_length=1, max_length=9)
    best: Cat | Dog = Field(discriminator="kind")
    color: Color | None = None
    share: float = Field(ge=0, le=1)


@pytest.mark.parametrize("output", [Open, Tree, Pair])
def test_a_schema_that_cannot_be_enforced_is_that_of_a_tool_that_must_be_called(output: type[BaseModel]) -> None:
    assert adapt(reply_schema(output), "anthropic").forbidden
    body = body_of(make(asking(output)), ask())
    assert "output_config" not in body
    assert "system" not in body
    [tool] = body["tools"]
    assert (tool["name"], tool["input_schema"]) == ("reply", reply_schema(output))
    assert "strict" not in tool
    assert body["tool_choice"] == {"type": "tool", "name": "reply"}


@pytest.mark.parametrize("output", [Open, Tree, Pair])
def test_where_no_tool_can_be_called_the_schema_is_told_in_the_system_prompt(output: type[BaseModel]) -> None:
    options = asking(output, calls_tools=False)
    body = body_of(make(options), [{"role": "system", "content": "Be kind."}, *ask()])
    assert not body.keys() & {"output_config", "tools", "tool_choice"}
    told, own = (block["text"] for block in body["system"])
    assert told.startswith("Answer with nothing but JSON that follows this JSON Schema:\n{")
    assert own == "Be kind."


def test_a_claude_that_thinks_is_told_the_schema() -> None:
    """It cannot be made to call a tool."""
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
    for params, tools in ((thinking, 0), ({}, 1)):
        node = Generate(model=tm.model("anthropic/claude", params=params), prompt="{{ a }}", output=Open, max_tokens=5)
        assert len(node.options().tools) == tools


@pytest.mark.parametrize("output", [Label, Pets])
def test_the_schema_is_one_that_anthropic_s_own_package_lets_pass(output: type[BaseModel]) -> None:
    """It takes out what is not enforced; of ours nothing is left to take out but the type of an enum."""
    adapted = adapt(reply_schema(output), "anthropic")
    assert not adapted.forbidden
    ours = dict(adapted.schema)
    assert drop_types(transform_schema(ours)) == drop_types(ours)


def drop_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [drop_types(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = "enum" in schema or "const" in schema
    return {key: drop_types(part) for key, part in schema.items() if not (closed and key == "type")}


def response(body: Any) -> Response:
    return Response(200, {}, body if isinstance(body, bytes) else orjson.dumps(body))


def message(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 3}
    return {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "usage": usage,
        **fields,
    }


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def test_a_reply_with_all_it_can_have() -> None:
    usage = {
        "input_tokens": 7,
        "output_tokens": 30,
        "cache_read_input_tokens": 90,
        "cache_creation_input_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 20},
    }
    body = message(
        {"type": "thinking", "thinking": "2 + 2", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
        text("It is "),
        text("4"),
        usage=usage,
    )
    TheirMessage.model_validate(body, strict=True)
    assert parse_reply(response(body)) == Reply("It is 4", "end_turn", Usage(100, 30, 90, 3, 20), "", "2 + 2")


def test_a_reply_with_as_little_as_it_can_have() -> None:
    assert parse_reply(response({"type": "message", "content": []})) == Reply("")


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
def test_a_reply_that_ends_at_a_bound_is_cut(reason: str) -> None:
    assert parse_reply(response(message(text("a"), stop_reason=reason))).is_cut
    assert not parse_reply(response(message(text("a"), stop_reason="stop_sequence"))).is_cut


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ({"type": "refusal", "category": "bio", "explanation": "No recipes."}, "No recipes."),
        ({"type": "refusal", "category": "bio", "explanation": None}, "bio"),
        (None, "the provider says no more"),
    ],
)
def test_a_refusal_says_why_where_the_provider_does(details: Any, told: str) -> None:
    body = message(text("Well"), stop_reason="refusal", stop_details=details)
    assert parse_reply(response(body)).refusal == told


@pytest.mark.parametrize("tokens", [-1, "3", None, 1.5, True])
def test_usage_that_is_no_number_of_tokens_is_not_taken(tokens: Any) -> None:
    """What the budget counts by must be whole numbers; anything else is as if the server had not said."""
    body = message(text("a"), usage={"input_tokens": tokens, "output_tokens": 3})
    assert parse_reply(response(body)).usage is None
    assert parse_reply(response(message(text("a"), usage=[1]))).usage is None


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"<html>busy</html>", TransientCallError, "expected a message as JSON, got 17 bytes starting '<html>"),
        (b"", TransientCallError, "got 0 bytes"),
        ([], TransientCallError, "expected a message"),
        ({"type": "completion"}, TransientCallError, "expected a message"),
        (message({"type": "text"}), TransientCallError, "expected a message"),
        (message({"type": "text", "text": 3}), TransientCallError, "expected a message"),
        (
            {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}},
            PermanentCallError,
            "answered 200 with an error: no",
        ),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            TransientCallError,
            "answered 200 with an error: Overloaded",
        ),
    ],
)
def test_what_is_no_reply(body: Any, kind: type[CallError], told: str) -> None:
    with pytest.raises(kind, match=told):
        parse_reply(response(body))


def test_a_key_that_a_reply_repeats_is_masked() -> None:
    endpoint = MessagesEndpoint("http://far/v1", "claude", {"x-api-key": "sk-ant-12345"}, Options(max_tokens=5))
    reply = endpoint.parse_reply(response(message(text("it is sk-ant-12345"))))
    assert reply.text == "it is ***"


def test_a_model_of_anthropic_is_asked_in_its_format() -> None:
    model = tm.model("anthropic/claude-haiku-4-5")
    request = make_endpoint(model, {}, asking(Label)).build_request(ask())
    assert request.url == "https://api.anthropic.com/v1/messages"
    assert b"output_config" in request.body


def test_another_server_is_asked_in_the_format_it_is_said_to_speak() -> None:
    model = tm.model("acme/m", base_url="http://far/v1", wire_format="anthropic", prompt_cache=False)
    messages: list[Message] = [{"role": "system", "content": LONG, "shared": True}, *ask()]
    options = Generate(model=model, prompt="{{ a }}", output=Label, max_tokens=5).options()
    request = make_endpoint(model, {}, options).build_request(messages)
    assert request.url == "http://far/v1/messages"
    assert b"output_config" not in request.body  # no one knows whether it enforces any
    assert b'"tool_choice":{"type":"tool","name":"reply"' in request.body
    assert b"cache_control" not in request.body
    openai = tm.model("anthropic/claude", base_url="http://far/v1", wire_format="openai")
    assert make_endpoint(openai, {}, Options()).build_request(ask()).url == "http://far/v1/chat/completions"


class Kin(BaseModel):
    name: str
    branches: list[Kin] = Field(max_length=3)


class Counted(BaseModel):
    counts: dict[str, int]


@pytest.mark.parametrize("output", [Label, Kin, Counted])
@pytest.mark.parametrize("replies", [None, "prompt"])
@pytest.mark.parametrize("name", ["anthropic/claude-sonnet-4-5", "other/claude"])
def test_the_mock_answers_whatever_tells_the_schema(server: FaultServer, name: str, replies: Any, output: Any) -> None:
    """The field that Anthropic enforces, a tool where that is not known or cannot be, or the system prompt."""
    with tm.model(name, wire_format="anthropic", base_url=server.base_url, api_key="none", replies=replies) as model:
        assert isinstance(model("a", system="Be kind.", output=output, max_tokens=99, max_reasks=0), output)
    payload = server.calls[0].payload
    is_enforced = replies is None and name.startswith("anthropic/") and output is Label
    assert ("output_config" in payload) == is_enforced
    assert ("tools" in payload) == (replies is None and not is_enforced)
