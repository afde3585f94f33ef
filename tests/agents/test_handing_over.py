"""Agents that the conversation is handed over to: each within its own bounds, and all within those of the first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from modelscript import MODEL, Scripted, calling, saying
from pydantic import BaseModel

import tidemill as tm
from tidemill.calls.limits import Budget

OVER = calling(("transfer_to_sales", {}))
LOOK = calling(("look", {}), text="looking")


class Price(BaseModel):
    """What is answered."""

    usd: int


@tm.tool
async def look() -> str:
    """Look it up."""
    return "nothing"


@tm.tool
async def wait() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return "over"


@tm.tool
async def fail() -> str:
    """Fails."""
    raise ValueError("broken")


def run(script: list[Any], first: dict[str, Any], **own: Any) -> Any:
    """A run of a desk that hands over to sales."""
    sales = tm.Agent(MODEL, name="sales", tools=[look, wait, fail], output=first.get("output"), **own)
    return Scripted(tm.Agent(MODEL, name="desk", handoffs=[sales], **first), script).run("?")


@pytest.mark.parametrize(
    ("first", "own", "turns", "who"),
    [
        ({"max_turns": 9}, {"max_turns": 2}, 3, "sales"),
        ({"max_turns": 9}, {"max_turns": 1}, 2, "sales"),
        ({"max_turns": 4}, {"max_turns": 9}, 4, "desk"),
        ({"max_turns": 2}, {"max_turns": 1}, 2, "sales"),
    ],
)
def test_each_has_its_own_turns_within_those_of_the_first(
    first: dict[str, Any], own: dict[str, Any], turns: int, who: str
) -> None:
    """In the last of them it is asked for its answer."""
    looked = [LOOK] * (turns - 2)
    for last, has_output in ((saying("sold"), True), (LOOK, False)):
        result = run([OVER, *looked, last], first, **own)
        assert (result.stop_reason, result.ended_by, len(result.turns)) == ("max_turns", who, turns)
        assert result.has_output is has_output


@pytest.mark.parametrize(
    ("first", "own", "turns", "who"),
    [
        (None, 2, 3, "sales"),
        (9, 1, 2, "sales"),
        (3, 9, 3, "desk"),
        (1, 9, 1, "desk"),
    ],
)
def test_each_has_its_own_budget_within_that_of_the_first(first: int | None, own: int, turns: int, who: str) -> None:
    budget = None if first is None else Budget(calls=first)
    result = run([OVER, *[LOOK] * 8], {"budget": budget}, budget=Budget(calls=own))
    assert (result.stop_reason, result.ended_by, len(result.turns)) == ("budget", who, turns)
    told = "budget of sales, after" if who == "sales" else "budget, after"
    with pytest.raises(tm.PermanentCallError, match=f"`desk` ended without an answer: {told} {turns} turn"):
        _ = result.output


@pytest.mark.parametrize(
    ("first", "own", "kinds", "who"),
    [
        (None, 3, [["ok", "ok"], ["ok", "beyond"]], "sales"),
        (9, 2, [["ok", "ok"]], "sales"),
        (2, 2, [["ok", "ok"]], "sales"),
        (3, None, [["ok", "ok"], ["ok", "beyond"]], "desk"),
        (1, 9, [["ok", "beyond"]], "desk"),
    ],
)
def test_each_has_its_own_calls_of_tools_within_those_of_the_first(
    first: int | None, own: int | None, kinds: list[list[str]], who: str
) -> None:
    """What is beyond is told and not made; the turn behind is the last. What is not made otherwise does not count."""
    two = calling(("look", {}), ("loko", {}), ("look", {"at": 1}), ("look", {}))
    result = run([OVER, *[two] * len(kinds), saying("sold")], {"max_tool_calls": first}, max_tool_calls=own)
    assert (result.output, result.stop_reason, result.ended_by) == ("sold", "max_tool_calls", who)
    found = [[call.outcome.kind for call in turn.calls] for turn in result.turns[1:-1]]
    assert [[kind for kind in turn if kind not in ("unknown", "invalid")] for turn in found] == kinds


@pytest.mark.parametrize(("first", "own", "who"), [(None, 0.05, "sales"), (60.0, 0.05, "sales"), (0.2, 60.0, "desk")])
def test_each_has_its_own_deadline_within_that_of_the_first(first: float | None, own: float, who: str) -> None:
    """It counts from where the conversation is handed over."""
    budget = None if first is None else Budget(deadline=first)
    result = run([OVER, calling(("wait", {}))], {"budget": budget}, budget=Budget(deadline=own))
    assert (result.stop_reason, result.ended_by) == ("deadline", who)


def test_the_bounds_of_one_who_handed_over_hold_no_more() -> None:
    """They were of its own turns; the one behind it has the first one's alone."""
    lawyer = tm.Agent(MODEL, name="lawyer", tools=[look])
    sales = tm.Agent(MODEL, name="sales", handoffs=[lawyer], max_turns=2, budget=Budget(calls=1, deadline=60))
    desk = tm.Agent(MODEL, name="desk", handoffs=[sales])
    script = [OVER, calling(("transfer_to_lawyer", {})), LOOK, LOOK, saying("signed")]
    result = Scripted(desk, script).run("?")
    assert (result.output, result.stop_reason, result.ended_by) == ("signed", "finished", "lawyer")


def test_what_does_not_fit_and_what_fails_again_counts_for_whose_turn_it_is() -> None:
    wrong = saying("cheap")
    result = run([OVER, wrong, wrong, saying('{"usd": 3}')], {"output": Price, "max_reasks": 0}, max_reasks=2)
    assert (result.output, result.ended_by) == (Price(usd=3), "sales")
    result = run([OVER, wrong], {"output": Price, "max_reasks": 9}, max_reasks=0)
    assert (result.stop_reason, result.ended_by) == ("no_output", "sales")
    failing = calling(("fail", {}))
    result = run([OVER, failing, failing, failing], {"max_repeats": 9}, max_repeats=2)
    assert (result.stop_reason, len(result.turns)) == ("repeated_error", 3)


def test_the_end_is_told_by_name_where_it_is_another_s() -> None:
    result = run([OVER, LOOK], {}, max_turns=1)
    assert str(result).splitlines()[-1] == "max_turns of sales: 'looking'"
    assert "desk: max_turns of sales, 2 turns" in repr(result)
    assert result.transcript()["ended_by"] == "sales"
