"""A model that mends only what a message names gets all of its bad calls right in one more turn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from modelscript import MODEL, Scripted, calling, saying

import tidemill as tm
from tidemill.calls.wire import Request, Response
from toolcall_cases import BAD, CLEAR, RIGHT, BadCall
from toolcall_types import book_room, cancel_room

Written = tuple[str, str]
"""A call as the model wrote it: the tool's name, and the arguments."""

ANY = {"text": "any text", "a date (YYYY-MM-DD)": "2000-01-31"}
"""Values of what a message may expect."""


def mend(call: Written, message: str) -> Written:
    """The call with all that the message says done to it, and nothing else; knows of no tool and no schema."""
    name, arguments = call
    if found := re.search("There is no tool `.+`; did you mean `(.+?)`", message):
        return found[1], arguments
    for line in message.splitlines():
        if found := re.fullmatch(r"\$\S*: (.*)", line):
            arguments = mend_arguments(arguments, line.partition(": ")[0], found[1])
    return name, arguments


def mend_arguments(arguments: str, path: str, said: str) -> str:
    """The arguments with one line of a message done to them: the first of these that it is like."""
    if found := re.search("cut off at its end, where `(.+?)` is missing", said):
        return arguments + found[1]
    if "keep one of them" in said:
        return json.dumps(json.loads(arguments, object_pairs_hook=lambda pairs: dict(reversed(pairs))))
    value = json.loads(arguments)
    *above, last = [int(index) if index else name for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path)]
    holder = value
    for item in above:
        holder = holder[item]
    meant = re.search("did you mean `(.+?)`", said)
    if said.startswith("unknown key"):
        given = holder.pop(last)
        if meant:
            holder[meant[1]] = given
    elif meant:
        holder[last] = meant[1]
    elif "put it in quotes" in said:
        holder[last] = str(holder[last])
    elif said == "expected a mapping, got a list of 1":
        [holder[last]] = holder[last]
    elif found := re.match(r"missing key \((.+)\)|expected (.+), got", said):
        holder[last] = make_value(found[1] or found[2])
    return json.dumps(value)


def make_value(expected: str) -> Any:
    """Some value of what is expected."""
    if found := re.fullmatch(r"an integer >= (\d+) and <= \d+", expected):
        return int(found[1])
    return ANY[expected]


def answer_by(mend_call: Callable[[Written, str], Written], bad: list[Written]) -> Callable[[Request], Response]:
    """A model that makes its calls in one turn, makes them again in the next, mended, and ends."""

    def answer(request: Request) -> Response:
        messages = json.loads(request.body)["messages"]
        told = [each["content"] for each in messages if each["role"] == "tool"]
        if not told:
            return calling(*bad)
        if len(told) > len(bad):
            return saying("done")
        return calling(*map(mend_call, bad, told))

    return answer


@pytest.fixture
def agent() -> tm.Agent:
    return tm.Agent(MODEL, tools=[book_room, cancel_room])


def test_all_bad_calls_are_right_in_one_more_turn(agent: tm.Agent) -> None:
    """None is executed at first, all are then, and what the mistake did not touch is as it was."""
    result = Scripted(agent, answer_by(mend, [(call.tool, call.arguments) for call in BAD])).run("Book a room.")
    first, second, last = result.turns
    assert {each.outcome.kind for each in first.calls} == {"invalid", "unknown"}
    assert {each.outcome.kind: each.outcome.content for each in second.calls}.keys() == {"ok"}
    assert (len(first.calls), len(second.calls), last.calls, result.output) == (15, 15, (), "done")
    for call, trace in zip(BAD, second.calls, strict=True):
        assert trace.outcome.arguments == RIGHT | guess(call, trace.outcome.arguments), call


def guess(call: BadCall, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a message can tell no more of than what it has to be: the value that a model alone knows."""
    is_named = call.meant or call.name in (
        "unknown argument", "list for an object", "argument given twice", "cut off",
    )  # fmt: skip
    return {} if is_named else {call.field[0]: arguments[call.field[0]]}


def test_calls_with_one_clear_meaning_cost_no_turn(agent: tm.Agent) -> None:
    result = Scripted(agent, [calling(*[(call.tool, call.arguments) for call in CLEAR]), saying("done")]).run("Book.")
    outcomes = [each.outcome for each in result.turns[0].calls]
    assert [(each.kind, each.value) for each in outcomes] == [("ok", "booked")] * len(CLEAR)
    assert [bool(each.repairs) for each in outcomes] == [False, False, True, True, True, True]


@pytest.mark.parametrize("message", ["An error occurred. Please try again.", "'nights' is a required property"])
def test_the_model_mends_nothing_that_no_message_names(message: str) -> None:
    """It has no other knowledge, which is what the recovery proves."""
    for call in BAD:
        assert mend((call.tool, call.arguments), message) == (call.tool, call.arguments)


def test_a_model_that_mends_nothing_gets_nothing_executed(agent: tm.Agent) -> None:
    bad = [(call.tool, call.arguments) for call in BAD]
    result = Scripted(agent, answer_by(lambda call, _: call, bad)).run("Book a room.")
    assert {each.outcome.kind for turn in result.turns for each in turn.calls} == {"invalid", "unknown"}
