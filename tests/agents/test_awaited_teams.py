"""Agents within agents, awaited: their calls go by the loop that agents run in, their tools belong to the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import tidemill as tm
from tidemill.agents import Final, fan_out
from tidemill.testing import Call, FaultServer, ToolCalls


def answer(call: Call) -> str | ToolCalls:
    """The chief asks one agent and a panel of two; each of those looks, and says what it saw."""
    if call.results:
        return " and ".join(result.splitlines()[1] for result in call.results)
    if "Look." in call.body.decode():
        return ToolCalls(("look", {"place": "shed"}))
    return ToolCalls(("guard", {"request": "well?"}), ("panel", {"request": "well?"}))


@pytest.fixture
async def serving() -> AsyncIterator[FaultServer]:
    with FaultServer(reply=answer) as server:
        yield server


def make_chief(server: FaultServer, look: Any) -> tm.Agent:
    model = tm.model("test/model", base_url=server.base_url)
    guard, left, right = (
        tm.Agent(model, name=name, instructions="Look.", tools=[look]) for name in ("guard", "left", "right")
    )
    return tm.Agent(model, name="chief", tools=[guard, fan_out("panel", [left, right])])


async def test_tools_of_agents_within_run_in_the_loop_of_whoever_awaits(serving: FaultServer) -> None:
    here = asyncio.get_running_loop()
    loops: list[Any] = []

    @tm.tool
    async def look(place: str) -> str:
        """Look somewhere."""
        loops.append(asyncio.get_running_loop())
        return f"an empty {place}"

    chief = make_chief(serving, look)
    wanted = 'an empty shed and {"left":"an empty shed","right":"an empty shed"}'
    assert (await chief.acall("?")).output == wanted
    ends = [event async for event in chief.stream("?") if isinstance(event, Final) and len(event.agent) == 1]
    assert [event.result.output for event in ends] == [wanted]
    assert loops == [here] * 6
    await asyncio.to_thread(chief.close)


async def test_cancelling_reaches_the_tools_of_all_agents_within(serving: FaultServer) -> None:
    begun, ended = asyncio.Queue[str](), asyncio.Queue[str]()

    @tm.tool
    async def look(place: str) -> str:
        """Looks for ever."""
        await begun.put(place)
        try:
            await asyncio.Event().wait()
        finally:
            ended.put_nowait(place)
        return ""

    chief = make_chief(serving, look)
    task = asyncio.create_task(chief.acall("?"))
    for _ in range(3):
        await begun.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.qsize() == 3
    await asyncio.to_thread(chief.close)
