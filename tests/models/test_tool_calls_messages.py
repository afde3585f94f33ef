"""Tools in Anthropic's format: what a request says of them, what it marks for the cache, and the calls in a reply."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.wire import Response, Usage
from tidemill.errors import ConfigError, TransientCallError
from tidemill.models.formats.anthropic import MessagesEndpoint, parse_reply
from tidemill.models.formats.anthropic_stream import MessageStream
from tidemill.models.messages import Message, Reply, ToolCall
from tidemill.models.options import Options, ToolSpec

SEARCH = ToolSpec("search", "Search the web.", {"type": "object", "properties": {"q": {"type": "string"}}})
CLOCK = ToolSpec("clock", "Tell the time.", {"type": "object", "properties": {}}, strict=True)
LONG = ToolSpec("long", "Long. " * 100, {"type": "object", "properties": {}})
USER: Message = {"role": "user", "content": "What time is it?"}
MARK = {"cache_control": {"type": "ephemeral"}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
USAGE = {"input_tokens": 7, "output_tokens": 3}


def build(options: Options, *messages: Message, caches: bool = False, **overrides: Any) -> dict[str, Any]:
    """The body of a request with 5 tokens at most."""
    endpoint = MessagesEndpoint("http://far/v1", "m", {}, options.override({"max_tokens": 5}), caches=caches)
    body: dict[str, Any] = orjson.loads(endpoint.build_request(messages or [USER], overrides or None).body)
    return body


def called(identity: str = "a", name: str = "search", given: Any = None, **more: Any) -> dict[str, Any]:
    """A block as the server writes it."""
    return {"type": "tool_use", "id": identity, "name": name, "input": {"q": "x"} if given is None else given, **more}


def call(identity: str = "a", name: str = "search", arguments: str = '{"q":"x"}') -> ToolCall:
    return {"id": identity, "name": name, "arguments": arguments}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def result(identity: str, text: str, *, is_error: bool = False) -> Message:
    message = Message(role="tool", content=text, call_id=identity)
    if is_error:
        message["is_error"] = True
    return message


def reply_of(*blocks: Any, reason: str = "tool_use") -> Reply:
    """What a message of these blocks is read as."""
    body = {"type": "message", "content": blocks, "stop_reason": reason, "usage": USAGE}
    return parse_reply(Response(200, {}, orjson.dumps(body)))


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def stream(*blocks: dict[str, Any], size: int = 4, reason: str = "tool_use") -> bytes:
    """The events of the same message, texts in pieces of `size` characters."""
    events = [event("message_start", message={"usage": USAGE})]
    for index, block in enumerate(blocks):
        start, deltas = dict(block), list[dict[str, Any]]()
        for field, kind in (("text", "text_delta"), ("thinking", "thinking_delta"), ("signature", "signature_delta")):
            if field in block:
                start[field] = ""
                deltas += [{"type": kind, field: piece} for piece in cut(block[field], size)]
        if "input" in block:
            start["input"] = {}
            told = orjson.dumps(block["input"]).decode()
            deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *cut(told, size)]]
        events.append(event("content_block_start", index=index, content_block=start))
        events += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(event("content_block_stop", index=index))
    events.append(event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 3}))
    return b"".join([*events, event("message_stop")])


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def read(body: bytes) -> Reply:
    taken = MessageStream()
    taken.feed(body)
    return taken.reply()


# Requests.


def test_tools_stand_in_front_of_the_system_prompt() -> None:
    options = Options(max_tokens=5, tools=(SEARCH, CLOCK), tool_choice="required")
    endpoint = MessagesEndpoint("http://far/v1", "m", {}, options, caches=False)
    assert endpoint.build_request([{"role": "system", "content": "Be kind."}, USER]).body == (
        b'{"model":"m","max_tokens":5,"tool_choice":{"type":"any"},"tools":['
        b'{"name":"search","description":"Search the web.",'
        b'"input_schema":{"type":"object","properties":{"q":{"type":"string"}}}},'
        b'{"name":"clock","description":"Tell the time.","input_schema":{"type":"object","properties":{}},'
        b'"strict":true}],"system":[{"type":"text","text":"Be kind."}],'
        b'"messages":[{"role":"user","content":"What time is it?"}]}'
    )


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("clock", {"type": "tool", "name": "clock"}),
    ],
)
def test_a_choice_may_be_made_for_one_request(choice: str, sent: Any) -> None:
    """The rest of it is that of the others."""
    options = Options(tools=(SEARCH, CLOCK))
    body = build(options, tool_choice=choice)
    assert body.pop("tool_choice") == sent
    assert body == build(options)


def test_the_tools_may_be_others_in_one_request() -> None:
    """The provider's own among `params` stand behind them, and by themselves where there are no others."""
    web = {"type": "web_search", "name": "web"}
    options = Options(tools=(SEARCH,), params={"tools": [web]})
    assert [tool["name"] for tool in build(options)["tools"]] == ["search", "web"]
    assert [tool["name"] for tool in build(options, tools=(CLOCK,))["tools"]] == ["clock", "web"]
    assert build(Options(params={"tools": [web]}))["tools"] == [web]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(tools=(SEARCH,), tool_choice="serch"), "tool_choice is `serch`, and no tool is called so"),
        (Options(tools=(SEARCH, SEARCH)), "several tools are called `search`"),
        (
            Options(tools=(SEARCH,), tool_choice="required", params={"thinking": {"type": "enabled"}}),
            "a model that thinks cannot be made to call a tool",
        ),
    ],
)
def test_what_the_api_would_refuse_is_refused_before(options: Options, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build(options)


def test_tools_add_what_the_provider_adds_to_the_most_a_request_comes_to() -> None:
    """Its own system prompt for tools, of 530 tokens at most, is not in the body."""
    request = MessagesEndpoint("http://far/v1", "m", {}, Options(max_tokens=5, tools=(SEARCH,))).build_request([USER])
    assert request.max_input_tokens == len(request.body) + 1_024


def test_results_of_one_turn_s_calls_stand_in_one_turn() -> None:
    """In the order they are given, failed ones told as such, none with an empty text."""
    turn: Message = {"role": "assistant", "content": "Now.", "tool_calls": [call("a"), call("b"), call("c")]}
    sent = build(Options(), USER, turn, result("a", "4"), result("b", "no", is_error=True), result("c", ""), USER)[
        "messages"
    ]
    assert sent == [
        USER,
        {"role": "assistant", "content": [said("Now."), called("a"), called("b"), called("c")]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "4"},
                {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
                {"type": "tool_result", "tool_use_id": "c"},
            ],
        },
        USER,
    ]


def test_blank_text_beside_a_call_is_left_out() -> None:
    """The API refuses blocks of white space."""
    turn: Message = {"role": "assistant", "content": "\n\n", "tool_calls": [call("a")]}
    assert build(Options(), USER, turn)["messages"][1]["content"] == [called("a")]


@pytest.mark.parametrize("arguments", ['{"q": "x', "[1]", "x"])
def test_arguments_that_are_no_object_go_back_wrapped(arguments: str) -> None:
    turn: Message = {"role": "assistant", "content": "", "tool_calls": [call("a", arguments=arguments)]}
    assert build(Options(), USER, turn)["messages"][1]["content"] == [called("a", given={"INVALID_JSON": arguments})]


def test_a_turn_of_another_format_goes_as_its_text_and_calls() -> None:
    """What only that format's models want back is left out."""
    turn: Message = {"role": "assistant", "content": "", "tool_calls": [call("a")], "blocks": [{"reasoning": "hm"}]}
    assert build(Options(), USER, turn)["messages"][1]["content"] == [called("a")]


# The prompt cache.


def marks(body: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Where a body is marked: the part, the place in it, the block of that."""
    found = [("tools", place, 0) for place, tool in enumerate(body.get("tools", ())) if "cache_control" in tool]
    found += [("system", place, 0) for place, block in enumerate(body.get("system", ())) if "cache_control" in block]
    for place, turn in enumerate(body["messages"]):
        blocks = turn["content"] if isinstance(turn["content"], list) else ()
        found += [("messages", place, number) for number, block in enumerate(blocks) if "cache_control" in block]
    return found


def loop(turns: int, calls: int = 2) -> list[Message]:
    """A conversation in which so many turns called so many tools each."""
    messages = [USER]
    for turn in range(turns):
        names = [f"{turn}-{number}" for number in range(calls)]
        messages.append({"role": "assistant", "content": "", "tool_calls": [call(name) for name in names]})
        messages += [result(name, "4") for name in names]
    return messages


def test_the_last_tool_is_marked_where_they_are_long_enough() -> None:
    """A mark behind what is shared stands for the tools too, which come before it and count with it."""
    assert marks(build(Options(tools=(SEARCH, LONG)), caches=True, tool_choice="none")) == [("tools", 1, 0)]
    assert marks(build(Options(tools=(SEARCH,)), caches=True, tool_choice="none")) == []
    system: Message = {"role": "system", "content": "Be kind.", "shared": True}
    assert marks(build(Options(tools=(LONG,)), system, USER, caches=True, tool_choice="none")) == [("system", 0, 0)]
    assert marks(build(Options(tools=(LONG,)), system, USER, *loop(1)[1:], caches=False)) == []


def test_a_loop_marks_its_last_turn_and_the_one_its_last_request_ended_with() -> None:
    """So each request reads all that the one before it wrote, however many blocks are between."""
    options = Options(tools=(LONG,))
    assert marks(build(options, *loop(0), caches=True)) == [("tools", 0, 0), ("messages", 0, 0)]
    before: list[Any] = []
    for turns in range(1, 4):
        body = build(options, *loop(turns, calls=15), caches=True)
        last = 2 * turns
        expected = [("messages", last - 2, 14 if turns > 1 else 0), ("messages", last, 14)]
        assert marks(body) == [("tools", 0, 0), *expected]
        without = [strip(turn) for turn in body["messages"]]
        assert without[: len(before)] == before
        before = without


def strip(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn without its marks, text in blocks."""
    content = turn["content"]
    blocks = [said(content)] if isinstance(content, str) else content
    return {**turn, "content": [{key: value for key, value in block.items() if key not in MARK} for block in blocks]}


@pytest.mark.parametrize("choice", ["none", "search"])
def test_a_choice_that_ends_a_loop_marks_no_turns(choice: str) -> None:
    """What is kept of messages is of use only under the same choice: a mark would cost and never be read."""
    assert marks(build(Options(tools=(SEARCH,)), *loop(2), caches=True, tool_choice=choice)) == []


def test_marks_leave_a_reply_s_own_blocks_as_they_are() -> None:
    """They belong to the conversation that the next request is made of."""
    reply = reply_of(THOUGHT, called("a"))
    turn = reply.to_message()
    turn["shared"] = True
    body = build(Options(tools=(LONG,)), USER, turn, result("a", "4"), caches=True)
    assert ("messages", 1, 1) in marks(body)
    assert reply.blocks == [THOUGHT, called("a")]


# Replies.


def test_calls_are_read_in_order_with_the_text_before_them() -> None:
    """Whole and streamed; nothing else is kept, since these make the blocks again."""
    blocks = (said("Now."), called("a"), called("b", "clock", {}))
    expected = Reply("Now.", "tool_use", Usage(7, 3), tool_calls=(call("a"), call("b", "clock", "{}")))
    assert reply_of(*blocks) == read(stream(*blocks)) == expected
    assert build(Options(), USER, expected.to_message())["messages"][1]["content"] == list(blocks)


@pytest.mark.parametrize(
    "blocks",
    [
        (THOUGHT, called("a")),
        (THOUGHT, said("Now."), called("a"), THOUGHT, called("b")),
        ({"type": "redacted_thinking", "data": "xyz"}, called("a")),
        (called("a"), said("And"), called("b")),
        (said("One"), said("two"), called("a")),
        (called("a", caller={"type": "code_execution", "tool_id": "s"}),),
        (called("s", type="server_tool_use"), {"type": "web_search_tool_result", "content": []}, called("a")),
    ],
    ids=lambda blocks: "-".join(block["type"] for block in blocks),
)
def test_blocks_that_calls_and_text_do_not_make_again_go_back_unchanged(blocks: tuple[dict[str, Any], ...]) -> None:
    """Whole and streamed, and from a row."""
    reply = reply_of(*blocks)
    assert reply == read(stream(*blocks))
    kept = Reply.from_row(orjson.loads(orjson.dumps(reply.to_row())))
    assert kept == reply
    assert build(Options(), USER, kept.to_message())["messages"][1]["content"] == list(blocks)


def test_a_reply_that_calls_nothing_keeps_no_blocks_unless_it_paused() -> None:
    """Thinking is of use to the calls it led to; a pause of the provider's own tools is gone on from."""
    assert reply_of(THOUGHT, said("Noon."), reason="end_turn").blocks is None
    paused = called("s", type="server_tool_use")
    assert reply_of(said("Wait."), paused, reason="pause_turn").blocks == [said("Wait."), paused]


def test_citations_come_in_pieces_too() -> None:
    cited = {"type": "char_location", "cited_text": "x"}
    body = b"".join(
        [
            event("message_start", message={"usage": USAGE}),
            event("content_block_start", index=0, content_block=said("")),
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": "So."}),
            event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": cited}),
            event("content_block_start", index=1, content_block=called("a")),
            event("message_delta", delta={"stop_reason": "tool_use"}),
        ]
    )
    reply = read(body)
    assert reply.blocks == [{**said("So."), "citations": [cited]}, called("a")]
    assert reply.tool_calls == (call("a"),)


def test_a_call_cut_at_max_tokens_is_cut() -> None:
    """Its arguments are what came; wrapped, they go back with the thinking that led to them."""
    told = '{"q": "x'
    reply = read(
        stream(THOUGHT, reason="pause_turn").partition(b"event: message_delta")[0]
        + event("content_block_start", index=1, content_block=called("a", given={}))
        + event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": told})
        + event("message_delta", delta={"stop_reason": "max_tokens"})
    )
    assert reply.is_cut
    assert reply.tool_calls == (call("a", arguments=told),)
    assert reply.blocks == [THOUGHT, called("a", given={"INVALID_JSON": told})]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "name": "search", "input": {}},
        {"type": "tool_use", "id": "a", "input": {}},
        called("a", name=""),
        called(7),  # type: ignore[arg-type]
        called("a", given=[1]),
        {"name": "search"},
        7,
    ],
    ids=str,
)
def test_a_malformed_call_may_be_well_formed_at_another_attempt(block: Any) -> None:
    """Whole and streamed."""
    with pytest.raises(TransientCallError, match="expected a message as JSON"):
        reply_of(block)
    start = event("content_block_start", index=0, content_block=block)
    with pytest.raises(TransientCallError, match=r"expected a message|expected an event of a message"):
        read(start + event("message_delta", delta={"stop_reason": "tool_use"}))


def test_arguments_of_no_block_are_no_message() -> None:
    delta = {"type": "input_json_delta", "partial_json": "{"}
    with pytest.raises(TransientCallError, match="expected an event of a message"):
        read(event("content_block_delta", index=3, delta=delta))


BLOCKS = st.lists(
    st.builds(said, st.text(min_size=1))
    | st.builds(lambda text: {**THOUGHT, "thinking": text}, st.text())
    | st.builds(
        called,
        st.uuids().map(str),
        st.text(min_size=1),
        st.dictionaries(st.text(), st.text() | st.integers(-9, 9) | st.none(), max_size=3),
    ),
    max_size=5,
)


@given(blocks=BLOCKS, size=st.integers(1, 9), places=st.lists(st.integers(0, 4000), max_size=6))
def test_any_cut_gives_the_same_reply(blocks: list[dict[str, Any]], size: int, places: list[int]) -> None:
    """The one that comes whole; it goes back as it came, and is the same from a row."""
    body = stream(*blocks, size=size)
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    taken = MessageStream()
    given = "".join(taken.feed(body[start:stop]) for start, stop in itertools.pairwise(bounds))
    reply = taken.reply()
    assert reply == reply_of(*blocks)
    assert given == reply.text
    kept = Reply.from_row(orjson.loads(orjson.dumps(reply.to_row())))
    assert kept == reply
    if reply.tool_calls:
        sent = build(Options(), USER, kept.to_message())["messages"][1]["content"]
        assert [block for block in sent if block["type"] != "text" or block["text"].strip()] == [
            block for block in blocks if block["type"] != "text" or block["text"].strip()
        ]


def test_a_key_is_masked_in_all_that_is_kept() -> None:
    """Blocks too."""
    endpoint = MessagesEndpoint("http://far/v1", "m", {"x-api-key": "sk-12345"}, Options(max_tokens=5))
    blocks = [{**THOUGHT, "thinking": "sk-12345?"}, called("a", given={"q": ["sk-12345"]})]
    body = orjson.dumps({"type": "message", "content": blocks, "stop_reason": "tool_use"})
    for reply in (
        endpoint.parse_reply(Response(200, {}, body)),
        endpoint.parse_reply(Response(200, {}, stream(*blocks))),
    ):
        assert b"sk-12345" not in orjson.dumps(reply.to_row())
        assert reply.tool_calls[0]["arguments"] == '{"q":["***"]}'
