"""What an agent tells while it runs, and how it ends early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tidemill as tm
from tidemill.agents.events import Event, Final, TextDelta, ToolEnd, ToolStart, TurnEnd
from tidemill.errors import CallError, StateError
from tidemill.testing import Call, Fault, Faults, FaultServer, ToolCalls


@tm.tool
async def look(place: str) -> str:
    """Look somewhere."""
    return f"{place} is empty"


def look_then_tell(call: Call) -> str | ToolCalls:
    """One look, then words."""
    return "It is all empty." if call.results else ToolCalls(("look", {"place": "the shed"}), text="Looking.")


@pytest.fixture
def serving() -> Iterator[FaultServer]:
    with FaultServer(reply=look_then_tell, keep_calls=True) as server:
        yield server


def make_agent(server: FaultServer, *tools: Any) -> tm.Agent:
    return tm.Agent(tm.model("test/model", base_url=server.base_url), tools=tools or (look,), name="guard")


def check_events(events: list[Event]) -> None:
    """Text as it came, the tool's start and end, what each turn used, and the result at the end."""
    text: dict[int, str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            text[event.turn] = text.get(event.turn, "") + event.text
    assert text == {1: "Looking.", 2: "It is all empty."}
    kinds = [type(event) for event in events if not isinstance(event, TextDelta)]
    assert kinds == [TurnEnd, ToolStart, ToolEnd, TurnEnd, Final]
    assert all(event.agent == ("guard",) for event in events)
    ended = next(event for event in events if isinstance(event, ToolEnd))
    assert (ended.call["name"], ended.outcome.value) == ("look", "the shed is empty")


def test_events_come_in_order_for_plain_python(serving: FaultServer) -> None:
    with make_agent(serving) as agent:
        stream = agent.stream("look around")
        with pytest.raises(StateError, match="has not ended"):
            _ = stream.result
        check_events(list(stream))
        assert stream.result.output == "It is all empty."


async def test_events_come_in_order_for_a_loop_and_tools_run_in_it(serving: FaultServer) -> None:
    here = asyncio.get_running_loop()

    @tm.tool(name="look")
    async def look_here(place: str) -> str:
        """Look somewhere."""
        assert asyncio.get_running_loop() is here
        return f"{place} is empty"

    agent = make_agent(serving, look_here)
    stream = agent.stream("look around")
    check_events([event async for event in stream])
    assert stream.result.output == "It is all empty."
    await asyncio.to_thread(agent.close)


def test_text_of_a_failed_attempt_is_said_to_be_void() -> None:
    """A stream that breaks off in the middle is asked for again: what came of it does not count."""
    with FaultServer(reply=lambda _: "one two three four five six seven eight") as server:
        server.faults = Faults(script=lambda call: Fault("cut", at_ratio=0.5) if call.times == 1 else None)
        with make_agent(server) as agent:
            events = [event for event in agent.stream("hello") if isinstance(event, TextDelta)]
    void = next(place for place, event in enumerate(events) if event.starts_anew)
    assert void > 0
    assert "".join(event.text for event in events[void:]) == "one two three four five six seven eight"


def test_closing_cancels_the_tool(serving: FaultServer) -> None:
    started, ended = threading.Event(), threading.Event()

    @tm.tool(name="look")
    async def look_for_ever(place: str) -> str:
        """Look somewhere."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    with make_agent(serving, look_for_ever) as agent:
        stream = agent.stream("look around")
        for event in stream:
            if isinstance(event, ToolStart):
                break
        assert started.wait(5)
        stream.close()
        assert ended.wait(5)
        assert list(stream) == []


def test_what_ends_the_run_is_raised(serving: FaultServer) -> None:
    serving.faults = Faults(matching=[("hello", Fault("status", status=400))])
    with make_agent(serving) as agent, pytest.raises(CallError, match="400"):
        list(agent.stream("hello"))


def test_many_threads_share_one_agent(serving: FaultServer) -> None:
    """One session, one set of limits, whoever calls."""
    agent = make_agent(serving)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(agent("look around").output)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agent.close()
    assert answers == ["It is all empty."] * 8
