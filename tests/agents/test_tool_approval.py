"""Calls that somebody decides on before they are made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from toolkit import ask_for, call_once, dispatching, make_tool

from tidemill.agents.calling.approval import ApprovalRequest, Approve, Modify, Reject, Stop, needs_approver
from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.errors import WorkerError

paid: list[int] = []


@pytest.fixture(autouse=True)
def nothing_paid() -> None:
    paid.clear()


async def pay(amount: int) -> str:
    paid.append(amount)
    return "paid"


async def decide(decision: Any, **options: Any) -> ToolOutcome:
    """The outcome of a call that `decision` is made on."""
    tool = make_tool(pay, needs_approval=True)
    return await call_once(tool, arguments={"amount": 5}, approve=lambda request: decision, **options)


@pytest.mark.parametrize("yes", [True, Approve()])
async def test_an_approved_call_is_made(yes: Any) -> None:
    assert (await decide(yes)).value == "paid"
    assert paid == [5]


@pytest.mark.parametrize(("no", "told"), [(False, "not executed."), (Reject("dear"), "not executed: dear")])
async def test_a_rejected_call_is_not_made_and_the_model_is_told_why(no: Any, told: str) -> None:
    outcome = await decide(no)
    assert (outcome.kind, outcome.tries, paid) == ("denied", 0, [])
    assert told in outcome.content


async def test_a_call_may_be_made_with_other_arguments() -> None:
    """The model is told them: what was done is not what it asked for."""
    outcome = await decide(Modify({"amount": 3}))
    assert (outcome.kind, outcome.arguments, paid) == ("ok", {"amount": 3}, [3])
    assert outcome.content.startswith('`pay` was called with other arguments than yours: {"amount":3}\n<result')
    assert outcome.repairs == ("changed by whoever approves",)


async def test_other_arguments_are_checked_as_the_models_are() -> None:
    outcome = await decide(Modify({"amount": "three"}))
    assert (outcome.kind, paid) == ("denied", [])
    assert "$.amount: expected int" in outcome.content


async def test_stop_lets_no_further_call_of_the_turn_start() -> None:
    tools = make_tool(pay, needs_approval=lambda request: Stop("enough"), sequential=True), make_tool(look)
    async with dispatching(*tools) as dispatcher:
        outcomes = await dispatcher.run_turn(1, [ask_for("look"), ask_for("pay", amount=1), ask_for("look")])
    assert [outcome.kind for outcome in outcomes] == ["ok", "stopped", "cancelled"]
    assert outcomes[1].content == "At the call of `pay` the run was stopped: enough"
    assert paid == []


async def look() -> str:
    return "seen"


async def test_without_anybody_to_approve_a_call_is_refused() -> None:
    outcome = await call_once(make_tool(pay, needs_approval=True), arguments={"amount": 5})
    assert (outcome.kind, paid) == ("denied", [])
    assert "nobody is there to approve it" in outcome.content


async def test_a_tool_may_name_who_decides() -> None:
    """Then the agent's own is not asked; a coroutine function as well as a plain one."""
    asked: list[ApprovalRequest] = []

    async def small(request: ApprovalRequest) -> bool:
        await asyncio.sleep(0)
        asked.append(request)
        return bool(request.arguments["amount"] < 10)

    tool = make_tool(pay, needs_approval=small)
    options: dict[str, Any] = {"approve": lambda request: pytest.fail("asked"), "agent": "clerk", "deps": "deps"}
    assert (await call_once(tool, arguments={"amount": 9}, **options)).kind == "ok"
    assert (await call_once(tool, arguments={"amount": 10}, **options)).kind == "denied"
    assert (asked[0].tool, asked[0].arguments, asked[0].agent, asked[0].turn) == ("pay", {"amount": 9}, "clerk", 1)
    assert asked[0].context.deps == "deps"


@pytest.mark.parametrize("given", [None, "yes", 1])
async def test_what_is_no_decision_ends_the_run(given: Any) -> None:
    """Nobody decided, so that neither is done: not made, not refused for ever, and asked about again."""
    rows: dict[Any, bytes] = {}
    with pytest.raises(
        WorkerError, match="nobody decided on a call of `pay`, and it was not made: expected Approve"
    ) as caught:
        await decide(given, rows=rows)
    assert caught.value.of == "run"
    assert (rows, paid) == ({}, [])


async def test_who_approves_may_fail_which_ends_the_run() -> None:
    def fail(request: ApprovalRequest) -> bool:
        raise EOFError("no terminal")

    with pytest.raises(WorkerError, match="it was not made: EOFError: no terminal"):
        await call_once(make_tool(pay, needs_approval=True), arguments={"amount": 5}, approve=fail)
    assert paid == []


async def test_a_decision_is_kept_with_its_call() -> None:
    """A run that goes on does not ask again."""
    asked: list[int] = []

    def once(request: ApprovalRequest) -> bool:
        asked.append(1)
        return False

    rows: dict[Any, bytes] = {}
    tool = make_tool(pay, needs_approval=True)
    outcomes = [await call_once(tool, arguments={"amount": 5}, approve=once, rows=rows) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert asked == [1]


async def test_whoever_is_asked_when_a_sibling_fails_need_not_answer() -> None:
    asked = asyncio.Event()

    async def wait(request: ApprovalRequest) -> bool:
        asked.set()
        await asyncio.Event().wait()
        return True

    async def fail() -> None:
        await asked.wait()
        raise ValueError

    tools = make_tool(pay, needs_approval=True), make_tool(fail)
    async with dispatching(*tools, approve=wait, on_error="cancel") as dispatcher:
        outcomes = await dispatcher.run_turn(1, [ask_for("pay", amount=1), ask_for("fail")])
    assert [outcome.kind for outcome in outcomes] == ["cancelled", "error"]
    assert outcomes[0].content == "`pay` was not called, since `fail` failed in the same turn."


def test_which_tools_need_an_approver_is_told() -> None:
    tools = [make_tool(pay, needs_approval=True), make_tool(look), make_tool(nothing, needs_approval=bool)]
    assert needs_approver(tools) == ("pay",)


async def nothing() -> None:
    pass
