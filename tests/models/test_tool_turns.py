"""A conversation with calls of tools and their results: what of it is taken, and where one is refused that is not."""

from __future__ import annotations

import re
from typing import Any

import pytest

import tidemill as tm
from tidemill.models.messages import Reply
from tidemill.models.steps.turns import TurnError, read_turns
from tidemill.testing import FaultServer

USER = {"role": "user", "content": "hi"}


def call(identity: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": identity, "name": "search", "arguments": "{}", **more}


def calling(*calls: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls), **more}


def result(identity: str = "a", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": "4", "call_id": identity, **more}


def test_turns_are_read_as_a_reply_gives_them() -> None:
    """With all they may hold; results in any order, and what holds None as if not there."""
    reply = Reply(
        "Now.",
        tool_calls=({"id": "a", "name": "search", "arguments": "{}", "extra": {"s": 1}}, call("b")),  # type: ignore[arg-type]
        blocks=[{"type": "thinking"}],
    )
    turns = [USER, reply.to_message(), result("b", is_error=True), result("a"), USER]
    assert read_turns(turns) == turns
    absent = {"tool_calls": None, "call_id": None, "is_error": None, "blocks": None}
    assert read_turns([{**absent, **turn} for turn in turns]) == turns


@pytest.mark.parametrize(
    ("turns", "place", "told", "hint"),
    [
        ([{"role": "tool", "content": "4"}], "[1]", "got one without `call_id`", "behind the turn that calls"),
        ([calling(call()), result(call_ids="a")], "[2]", "got one with `call_ids`", "nothing else"),
        ([calling(call()), {**USER, "role": "tool", "callid": "a"}], "[2]", "got one with `callid`", "mean `call_id`?"),
        ([{"role": "assistant", "content": "", "tool_call": []}], "[1]", "one with `tool_call`", "mean `tool_calls`?"),
        ([{**USER, "tool_calls": [call()]}], "[1]", "got one with `tool_calls`", "leave it out"),
        ([calling(call(), is_error=True)], "[1]", "got one with `is_error`", "leave it out"),
        ([{**USER, "role": "assistant", "tool_calls": "x"}], "[1].tool_calls", 'a list of calls, got "x"', "a call is"),
        (
            [calling("x")],
            "[1].tool_calls[0]",
            'expected a mapping of `id`, `name` and `arguments`, got "x"',
            "a call is",
        ),
        (
            [calling({"id": "a", "type": "function", "function": {"name": "search", "arguments": "{}"}})],
            "[1].tool_calls[0]",
            "got one with `type` and `function`",
            "leave it out",
        ),
        ([calling(call(argument="{}"))], "[1].tool_calls[0]", "got one with `argument`", "leave it out"),
        ([calling({"id": "a", "name": "b"})], "[1].tool_calls[0]", "got one without `arguments`", "a call is"),
        ([calling({"id": "a", "name": "b", "args": "{}"})], "[1].tool_calls[0]", "got one with `args`", ""),
        ([calling(call(arguments={}))], "[1].tool_calls[0].arguments", "as JSON in a text, got an empty mapping", ""),
        ([calling(call(""))], "[1].tool_calls[0].id", 'a text that is not empty, got ""', ""),
        ([calling(call(name=3))], "[1].tool_calls[0].name", "a text that is not empty, got 3", ""),
        ([calling(call(extra=3))], "[1].tool_calls[0].extra", "expected a mapping, got 3", ""),
        ([calling(call("a"), call("b"), call("a"))], "[1].tool_calls[2].id", 'got "a" a second time', "told by it"),
        ([calling(call(), blocks=3)], "[1].blocks", "expected a list of blocks, got 3", "Reply.blocks"),
        ([calling(call(), blocks=[3])], "[1].blocks[0]", "expected a mapping, got 3", ""),
        ([result()], "[1].call_id", 'the id of a call in the turn in front of it, got "a"', "behind the turn that"),
        ([calling(call("call_7")), result("call7")], "[2].call_id", 'got "call7"', "did you mean `call_7`?"),
        ([calling(call("abc")), result("xyz")], "[2].call_id", 'got "xyz"', "waiting for one: `abc`"),
        ([calling(call()), result(), result()], "[3].call_id", 'one result of a call, got another of "a"', ""),
        ([calling(call()), result(), USER, result()], "[4].call_id", "in the turn in front of it", ""),
        ([calling(call("a"), call("b")), result("a"), USER], "[1].tool_calls", "got none of `b`", "behind the turn"),
        ([calling(call("a"), call("b"))], "[1].tool_calls", "got none of `a` and `b`", "behind the turn that calls"),
    ],
)
def test_what_no_provider_would_take_is_refused_where_it_stands(
    turns: list[Any], place: str, told: str, hint: str
) -> None:
    with pytest.raises(TurnError, match=re.escape(told)) as caught:
        read_turns([USER, *turns])
    assert caught.value.place == place
    assert hint in caught.value.hint


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_conversation_with_calls_may_be_asked(server: FaultServer, provider: str) -> None:
    """As it may stand in a record's column."""
    with tm.model(f"{provider}/any", base_url=server.base_url, api_key="none") as model:
        model([USER, calling(call()), result()], max_tokens=5)  # type: ignore[list-item]
    sent = server.calls[0].payload["messages"]
    assert len(sent) == 3
    assert b'"a"' in server.calls[0].body
