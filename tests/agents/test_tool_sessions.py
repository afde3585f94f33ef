"""What a tool keeps for the length of one run of an agent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from toolkit import ask_for, dispatching, make_tool

from tidemill.agents.calling.home import Home
from tidemill.agents.tools.context import Context
from tidemill.errors import ConfigError
from tidemill.resources.bridge import Bridge
from tidemill.testing import run_virtual

log: list[str] = []


@pytest.fixture(autouse=True)
def nothing_logged() -> None:
    log.clear()


@asynccontextmanager
async def counting(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
    """A session whose function counts its calls; entered and left in one task."""
    task = asyncio.current_task()
    log.append(f"open {context.agent}")
    calls = 0

    async def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    try:
        yield count
    finally:
        assert asyncio.current_task() is task
        log.append("left")


async def count() -> int:
    return 0


async def test_a_session_is_opened_by_the_first_call_and_left_at_the_end() -> None:
    """Calls of one run go to one, those of another run to another."""
    tool = make_tool(count, open_session=counting)
    for _ in range(2):
        async with dispatching(tool, agent="clerk") as dispatcher:
            first = await dispatcher.run_turn(1, [ask_for("count")] * 2)
            [third] = await dispatcher.run_turn(2, [ask_for("count")])
            assert {outcome.value for outcome in first} == {1, 2}
            assert third.value == 3
            assert log[-1] == "open clerk"
    assert log == ["open clerk", "left"] * 2


async def test_without_a_call_no_session_is_opened() -> None:
    async with dispatching(make_tool(count, open_session=counting)):
        pass
    assert log == []


async def test_a_plain_function_of_a_session_is_called_in_a_thread() -> None:
    @asynccontextmanager
    async def naming(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        yield lambda: threading.current_thread().name

    async with dispatching(make_tool(count, open_session=naming)) as dispatcher:
        [outcome] = await dispatcher.run_turn(1, [ask_for("count")])
    assert outcome.value.startswith("tidemill-tool")


async def test_one_that_cannot_be_opened_fails_its_call_and_is_opened_anew_by_the_next() -> None:
    @asynccontextmanager
    async def opening(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        log.append("open")
        if len(log) == 1:
            raise LookupError("not yet")
        async with counting(context) as function:
            yield function

    async with dispatching(make_tool(count, open_session=opening)) as dispatcher:
        [failed] = await dispatcher.run_turn(1, [ask_for("count")])
        [counted] = await dispatcher.run_turn(2, [ask_for("count")])
    assert (failed.kind, failed.error) == ("error", "LookupError: not yet")
    assert counted.value == 1


async def test_one_that_ends_by_itself_is_opened_anew_by_the_next_call(caplog: pytest.LogCaptureFixture) -> None:
    """As with a server that died: a cancel scope around it ends what holds it open."""

    @asynccontextmanager
    async def dying(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        holder = asyncio.current_task()
        assert holder is not None

        async def die() -> str:
            holder.cancel()
            await asyncio.wait([holder])
            raise ConnectionError

        async with counting(context) as function:
            yield die if len(log) == 1 else function

    async with dispatching(make_tool(count, open_session=dying)) as dispatcher:
        [failed] = await dispatcher.run_turn(1, [ask_for("count")])
        [counted] = await dispatcher.run_turn(2, [ask_for("count")])
    assert (failed.kind, counted.value) == ("error", 1)
    assert log == ["open ", "left"] * 2
    assert "the session of the tool count ended by itself" in caplog.text


def test_a_call_that_ends_while_the_session_opens_leaves_it_to_the_next() -> None:
    @asynccontextmanager
    async def slowly(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        log.append("opening")
        await asyncio.sleep(8)
        async with counting(context) as function:
            yield function

    async def main() -> None:
        async with dispatching(make_tool(count, open_session=slowly, timeout_s=5)) as dispatcher:
            [late] = await dispatcher.run_turn(1, [ask_for("count")])
            [counted] = await dispatcher.run_turn(2, [ask_for("count")])
        assert (late.kind, counted.value) == ("timeout", 1)

    run_virtual(main())
    assert log == ["opening", "open ", "left"]


def test_one_that_is_still_opening_at_the_end_is_ended() -> None:
    @asynccontextmanager
    async def never(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")
        yield count

    async def main() -> None:
        async with dispatching(make_tool(count, open_session=never, timeout_s=5)) as dispatcher:
            [late] = await dispatcher.run_turn(1, [ask_for("count")])
            assert late.kind == "timeout"

    run_virtual(main())
    assert log == ["ended"]


async def test_what_cannot_be_left_is_raised_once_all_are() -> None:
    @asynccontextmanager
    async def sticking(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        yield count
        raise OSError("the session sticks")

    async def also() -> int:
        return 0

    with pytest.raises(OSError, match="the session sticks"):
        async with dispatching(
            make_tool(also, open_session=counting), make_tool(count, open_session=sticking)
        ) as found:
            await found.run_turn(1, [ask_for("also"), ask_for("count")])
    assert log == ["open ", "left"]


async def test_a_session_here_cannot_be_isolated() -> None:
    with pytest.raises(ConfigError, match="tool `count` has a session in this process"):
        async with dispatching(make_tool(count, open_session=counting, isolate=True)):
            pass


async def test_a_session_belongs_to_the_loop_of_whoever_runs_the_agent() -> None:
    """It is opened, used and left there, though its calls go out by an engine of another loop."""
    seen: list[asyncio.AbstractEventLoop] = []

    @asynccontextmanager
    async def noting(context: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        async def note() -> None:
            seen.append(asyncio.get_running_loop())

        await note()
        yield note
        await note()

    async def call(home: Home) -> None:
        async with dispatching(make_tool(count, open_session=noting), home=home) as dispatcher:
            [outcome] = await dispatcher.run_turn(1, [ask_for("count")])
            assert outcome.kind == "ok"

    with Bridge() as bridge:
        await bridge.arun(call(Home.here()))
    assert seen == [asyncio.get_running_loop()] * 3
