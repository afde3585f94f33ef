"""Tools in OpenAI's format: what a request says of them, and the calls in a reply, however a server cuts them."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.wire import Response, Usage
from tidemill.errors import ConfigError, TransientCallError
from tidemill.models.formats.chat_stream import ChatStream
from tidemill.models.formats.openai import ChatEndpoint, parse_reply
from tidemill.models.messages import Message, Reply, ToolCall
from tidemill.models.options import Options, ToolSpec

SEARCH = ToolSpec("search", "Search the web.", {"type": "object", "properties": {"q": {"type": "string"}}})
CLOCK = ToolSpec("clock", "Tell the time.", {"type": "object", "properties": {}}, strict=True)
SIGNATURE = {"google": {"thought_signature": "c2ln"}}
USER: Message = {"role": "user", "content": "What time is it?"}


def build(options: Options, *messages: Message, **overrides: Any) -> dict[str, Any]:
    """The body of a request."""
    endpoint = ChatEndpoint("http://far/v1", "m", {}, options)
    body: dict[str, Any] = orjson.loads(endpoint.build_request(messages or [USER], overrides or None).body)
    return body


def reply_of(message: dict[str, Any], reason: str = "tool_calls") -> Reply:
    """What a body with one message is read as."""
    return parse_reply(Response(200, {}, orjson.dumps({"choices": [{"message": message, "finish_reason": reason}]})))


def asked(
    identity: str | None = "a", name: str = "search", arguments: Any = '{"q":"x"}', **more: Any
) -> dict[str, Any]:
    """A call as a server writes it."""
    call = {"type": "function", "function": {"name": name, "arguments": arguments}, **more}
    return call if identity is None else {"id": identity, **call}


def call(identity: str, name: str = "search", arguments: str = '{"q":"x"}') -> ToolCall:
    return {"id": identity, "name": name, "arguments": arguments}


def stream(*deltas: dict[str, Any], reason: str = "tool_calls") -> bytes:
    """A stream of these deltas."""
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in [*chunks, last]) + b"data: [DONE]\n\n"


def read(body: bytes) -> Reply:
    taken = ChatStream()
    taken.feed(body)
    return taken.reply()


# Requests.


def test_tools_stand_behind_the_messages_and_in_front_of_the_other_options() -> None:
    body = ChatEndpoint("http://far/v1", "m", {}, Options(tools=(SEARCH, CLOCK), tool_choice="auto", temperature=0))
    assert body.build_request([USER]).body == (
        b'{"model":"m","messages":[{"role":"user","content":"What time is it?"}],"tools":['
        b'{"type":"function","function":{"name":"search","description":"Search the web.",'
        b'"parameters":{"type":"object","properties":{"q":{"type":"string"}}}}},'
        b'{"type":"function","function":{"name":"clock","description":"Tell the time.",'
        b'"parameters":{"type":"object","properties":{}},"strict":true}}],"temperature":0,"tool_choice":"auto"}'
    )


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("none", "none"),
        ("required", "required"),
        ("clock", {"type": "function", "function": {"name": "clock"}}),
    ],
)
def test_a_choice_may_be_made_for_one_request(choice: str, sent: Any) -> None:
    """The rest of it is byte for byte that of the others, and the choice the only difference."""
    options = Options(tools=(SEARCH, CLOCK))
    body = build(options, tool_choice=choice)
    assert body.pop("tool_choice") == sent
    assert body == build(options)


def test_the_tools_may_be_others_in_one_request() -> None:
    """The provider's own among `params` stand behind them."""
    options = Options(tools=(SEARCH,), params={"tools": [{"type": "web"}]})
    assert [tool["type"] for tool in build(options)["tools"]] == ["function", "web"]
    assert build(options, tools=(CLOCK,))["tools"][0]["function"]["name"] == "clock"
    assert build(Options(params={"tools": [{"type": "web"}]}))["tools"] == [{"type": "web"}]


def test_a_choice_without_tools_is_not_sent() -> None:
    """Endpoints refuse it, and it says nothing."""
    assert "tool_choice" not in build(Options(tool_choice="none"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(tools=(SEARCH,), tool_choice="serch"), "tool_choice is `serch`, and no tool is called so\n.*`search`"),
        (Options(tool_choice="search"), "no tool is called so"),
        (Options(tools=(SEARCH, SEARCH)), "several tools are called `search`"),
    ],
)
def test_a_choice_of_no_tool_and_two_of_one_name_are_refused(options: Options, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build(options)


def test_turns_that_call_and_their_results_are_sent_in_the_format_s_words() -> None:
    """Text with the call, no text, Gemini's signature, what a thinking model wants back; a failed result as any."""
    thought: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{**call("a"), "extra": {"extra_content": SIGNATURE}}],
        "blocks": [{"reasoning_content": "hm"}, {"type": "thinking", "thinking": "another format's"}],
    }
    said: Message = {"role": "assistant", "content": "Once more.", "tool_calls": [call("b"), call("c", "clock", "{}")]}
    results: list[Message] = [
        {"role": "tool", "content": "none", "call_id": "b", "is_error": True},
        {"role": "tool", "content": "noon", "call_id": "c"},
    ]
    sent = build(Options(), USER, thought, {"role": "tool", "content": "4", "call_id": "a"}, said, *results)["messages"]
    assert sent == [
        USER,
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [asked("a", extra_content=SIGNATURE)],
        },
        {"role": "tool", "tool_call_id": "a", "content": "4"},
        {"role": "assistant", "content": "Once more.", "tool_calls": [asked("b"), asked("c", "clock", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "none"},
        {"role": "tool", "tool_call_id": "c", "content": "noon"},
    ]


@pytest.mark.parametrize("arguments", ['{"q": "x', "[1]", "x"])
def test_arguments_that_are_no_object_go_back_wrapped(arguments: str) -> None:
    """Servers that read them would refuse the whole conversation."""
    turn: Message = {"role": "assistant", "content": "", "tool_calls": [call("a", arguments=arguments)]}
    sent = build(Options(), USER, turn)["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert orjson.loads(sent) == {"INVALID_JSON": arguments}


# Replies.


def test_calls_are_read_in_order_and_need_no_text() -> None:
    reply = reply_of({"content": None, "tool_calls": [asked("a"), asked("b", "clock", "{}")]})
    assert reply == Reply("", "tool_calls", tool_calls=(call("a"), call("b", "clock", "{}")))
    assert reply.to_message() == {
        "role": "assistant",
        "content": "",
        "tool_calls": [call("a"), call("b", "clock", "{}")],
    }


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ([asked(None), asked("")], [call("call_1"), call("call_2")]),
        ([asked("call_2"), asked(None)], [call("call_2"), call("call_2_")]),
        ([asked("a"), asked("a", "clock", "{}")], [call("a"), call("call_2", "clock", "{}")]),
        ([asked("a", arguments={"q": "x"})], [call("a")]),
        ([asked("a", arguments="")], [call("a", arguments="{}")]),
        ([{"id": "a", "function": {"name": "clock"}}], [call("a", "clock", "{}")]),
        ([asked("a", index=0, extra_content={"g": 1})], [{**call("a"), "extra": {"extra_content": {"g": 1}}}]),
    ],
)
def test_what_servers_leave_out_is_filled_in(given: list[Any], read: list[ToolCall]) -> None:
    """Ids by place, each of its own; arguments as text; what is a provider's own is kept."""
    assert list(reply_of({"content": "", "tool_calls": given}).tool_calls) == read


@pytest.mark.parametrize(
    "calls",
    [
        [{"id": "a", "type": "function"}],
        [asked("a", name="")],
        [asked("a", arguments=3)],
        [asked("a", arguments=["x"])],
        [asked(7)],  # type: ignore[arg-type]
        [None],
        {"id": "a"},
        7,
    ],
    ids=str,
)
def test_a_malformed_call_may_be_well_formed_at_another_attempt(calls: Any) -> None:
    """Whole and streamed."""
    with pytest.raises(TransientCallError, match="expected a chat completion"):
        reply_of({"content": "a", "tool_calls": calls})
    with pytest.raises(TransientCallError, match=r"expected a chat completion|expected a chunk"):
        read(stream({"tool_calls": calls}))


@pytest.mark.parametrize(
    "deltas",
    [
        [
            [asked("a", arguments="", index=0)],
            [{"index": 0, "function": {"arguments": '{"q":'}}],
            [asked("b", "clock", "", index=1)],
            [{"index": 0, "function": {"arguments": '"x"}'}}, {"index": 1, "function": {"arguments": "{}"}}],
        ],
        [[asked("a", index=0), asked("b", "clock", "{}", index=1)]],
        [[asked("a", index=0)], [asked("b", "clock", "{}", index=0)]],
        [[asked("a")], [asked("b", "clock", "{}")]],
        [[asked("a", arguments='{"q"')], [asked("a", arguments=':"x"}')], [asked("b", "clock", {})]],
        [[asked("a", arguments='{"q"')], [asked("", arguments=':"x"}')], [asked("b", "clock", "")]],
        [[asked("a", arguments='{"q"')], [{"function": {"arguments": ':"x"}'}}], [asked("b", "clock", None)]],
    ],
    ids=[
        "by index, at once",
        "whole in one chunk",
        "one index for all",
        "without an index",
        "the id in each piece",
        "the name in each piece",
        "the id in the first piece",
    ],
)
def test_pieces_make_the_calls_however_a_server_numbers_them(deltas: list[list[Any]]) -> None:
    reply = read(stream(*({"tool_calls": pieces} for pieces in deltas)))
    assert reply == Reply("", "tool_calls", tool_calls=(call("a"), call("b", "clock", "{}")))


def test_whole_calls_without_id_or_index_are_told_apart() -> None:
    """Also two of the same tool."""
    reply = read(stream({"tool_calls": [asked(None)]}, {"tool_calls": [asked(None)]}, {"tool_calls": [asked(None)]}))
    assert reply.tool_calls == (call("call_1"), call("call_2"), call("call_3"))


CALLS = st.lists(
    st.builds(
        call,
        st.uuids().map(str),
        st.text(min_size=1),
        st.dictionaries(st.text(), st.text() | st.integers(-9, 9)).map(lambda value: orjson.dumps(value).decode()),
    ),
    max_size=3,
)


@given(calls=CALLS, text=st.text(), size=st.integers(1, 9), places=st.lists(st.integers(0, 4000), max_size=6))
def test_any_cut_gives_the_same_calls(calls: list[ToolCall], text: str, size: int, places: list[int]) -> None:
    """Of the arguments, and of the bytes; what goes back is what came, and so is a row."""
    deltas: list[dict[str, Any]] = [{"content": text}]
    for index, each in enumerate(calls):
        deltas.append({"tool_calls": [asked(each["id"], each["name"], "", index=index)]})
        pieces = [each["arguments"][start : start + size] for start in range(0, len(each["arguments"]), size)]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
    body = stream(*deltas)
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    taken = ChatStream()
    shown = arguments = ""
    for start, stop in itertools.pairwise(bounds):
        shown += taken.feed(body[start:stop])
        arguments += taken.take_arguments()
    assert (shown, arguments) == (text, "".join(each["arguments"] for each in calls))
    reply = taken.reply()
    whole = reply_of({"content": text, "tool_calls": [asked(**_named(each)) for each in calls]})
    assert reply == whole == Reply(text, "tool_calls", tool_calls=tuple(calls))
    row = orjson.loads(orjson.dumps(reply.to_row()))
    assert Reply.from_row(row) == reply
    sent = build(Options(), USER, Reply.from_row(row).to_message())["messages"][1]
    assert sent.get("tool_calls", []) == [asked(**_named(each)) for each in calls]


def _named(each: ToolCall) -> dict[str, Any]:
    return {"identity": each["id"], "name": each["name"], "arguments": each["arguments"]}


def test_a_call_cut_at_max_tokens_is_cut() -> None:
    """It is read as it came: what it lacks is no fault of the server's."""
    cut = asked("a", arguments='{"q":"x')
    for reply in (
        reply_of({"content": None, "tool_calls": [cut]}, "length"),
        read(stream({"tool_calls": [cut]}, reason="length")),
    ):
        assert reply.is_cut
        assert reply.tool_calls == (call("a", arguments='{"q":"x'),)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_what_a_thinking_model_wants_back_is_kept_with_its_calls(field: str) -> None:
    """Under the name it came by, also where it is empty; not with a reply that calls nothing."""
    whole = reply_of({"content": None, field: "2 + 2", "tool_calls": [asked("a")]})
    streamed = read(stream({field: "2 "}, {field: "+ 2"}, {"tool_calls": [asked("a")]}))
    assert whole == streamed
    assert (whole.reasoning, whole.blocks) == ("2 + 2", [{field: "2 + 2"}])
    assert build(Options(), USER, whole.to_message())["messages"][1][field] == "2 + 2"
    assert reply_of({"content": None, field: "", "tool_calls": [asked("a")]}).blocks == [{field: ""}]
    assert reply_of({"content": "4", field: "2 + 2"}, "stop").blocks is None


def test_the_pieces_of_reasoning_details_are_kept_in_order() -> None:
    """OpenRouter's, which some models want back with their signatures."""
    details = [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.encrypted", "data": "b"}]
    whole = reply_of({"content": None, "reasoning_details": details, "tool_calls": [asked("a")]})
    streamed = read(stream(*({"reasoning_details": [each]} for each in details), {"tool_calls": [asked("a")]}))
    assert whole.blocks == streamed.blocks == [{"reasoning_details": details}]


def test_thinking_that_litellm_gives_in_pieces_is_put_together() -> None:
    """Each block is whole with its signature; without it the provider behind refuses to go on."""
    blocks = [
        {"type": "thinking", "thinking": "2 + 2", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "", "signature": "bmFs"},
    ]
    pieces = [
        {"type": "thinking", "thinking": "2 +", "signature": None},
        {"type": "thinking", "thinking": " 2", "signature": ""},
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        *blocks[1:],
    ]
    whole = reply_of({"content": None, "thinking_blocks": blocks, "tool_calls": [asked("a")]})
    streamed = read(stream(*({"thinking_blocks": [each]} for each in pieces), {"tool_calls": [asked("a")]}))
    assert whole.blocks == streamed.blocks == [{"thinking_blocks": blocks}]
    assert build(Options(), USER, whole.to_message())["messages"][1]["thinking_blocks"] == blocks


def test_a_key_is_masked_in_all_that_a_call_holds() -> None:
    """Its name, its arguments, what goes back with it."""
    endpoint = ChatEndpoint("http://far/v1", "m", {"authorization": "Bearer sk-12345"}, Options())
    message = {
        "content": None,
        "reasoning": "sk-12345?",
        "tool_calls": [asked("a", "sk-12345", '{"q":"sk-12345"}', extra_content={"s": "sk-12345"})],
    }
    body = orjson.dumps({"choices": [{"message": message}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    reply = endpoint.parse_reply(Response(200, {}, body))
    assert b"sk-12345" not in orjson.dumps(reply.to_row())
    assert reply.tool_calls[0]["arguments"] == '{"q":"***"}'
    assert reply.usage == Usage(1, 2)
