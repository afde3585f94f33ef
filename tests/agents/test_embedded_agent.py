"""An agent of the embedded model, all the way: no server but the one in this process, no scripted reply."""

from __future__ import annotations

from typing import Literal

import pytest

import tidemill as tm

TIDES = {"Brest": "14:32", "Calais": "11:05", "Dover": "07:48"}


@tm.tool
def get_tide(port: Literal["Brest", "Calais", "Dover"]) -> str:
    """Says when the tide is high in a port."""
    return f"High tide at {TIDES[port]}"


@pytest.mark.usefixtures("local_url")  # whose server it shares
@pytest.mark.parametrize("port", ["Calais", "Dover"])
def test_it_calls_its_tool_and_answers_with_what_that_gave(port: str) -> None:
    """135 million parameters: its first reply is a call of the right tool with the right argument, and then it is asked
    for its answer alone, which has a time that only the tool knows."""
    with tm.Agent("local/smollm2", tools=[get_tide], max_turns=2, max_tokens=40, temperature=0) as agent:
        result = agent(f"When is high tide in {port}?")
    ((call,),) = [turn.calls for turn in result.turns if turn.calls]
    assert (call.call["name"], call.outcome.kind) == ("get_tide", "ok")
    assert call.outcome.value == f"High tide at {TIDES[port]}"
    assert TIDES[port] in result.text
