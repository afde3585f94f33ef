"""A tool that takes too long: what is ended, what cannot be, and what is told of it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from toolkit import JumpingLoop, ask_for, call_once, dispatching, make_tool, run_jumping, until

from tidemill.agents.calling.bounded import GRACE_S
from tidemill.agents.calling.dispatcher import Dispatcher
from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.tools.tool import Tool
from tidemill.testing import run_virtual


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets functions in threads go at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_coroutine_that_takes_too_long_is_cancelled_and_told() -> None:
    cleaned: list[str] = []

    async def dawdle() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cleaned.append("up")

    outcome = run_virtual(call_once(make_tool(dawdle, timeout_s=5)))
    assert (outcome.kind, outcome.tries, outcome.elapsed_s) == ("timeout", 1, 5.0)
    assert outcome.content.startswith("`dawdle` gave nothing within 5 s, and was ended.")
    assert cleaned == ["up"]


def test_one_that_takes_no_notice_is_left_behind_and_told_so() -> None:
    """So that nothing waits for it; and it is counted for as long as it runs."""
    woken = asyncio.Event()

    async def ignore() -> None:
        while not woken.is_set():
            try:
                await woken.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        async with dispatching(make_tool(ignore, timeout_s=5, concurrency=1)) as dispatcher:
            [outcome] = await dispatcher.run_turn(1, [ask_for("ignore")])
            assert (outcome.kind, outcome.elapsed_s) == ("timeout", 5 + GRACE_S)
            assert "still running" in outcome.content
            assert outcome.error == "`ignore` gave nothing within 5 s; it is still running and holds its place"
            [outcome] = await dispatcher.run_turn(2, [ask_for("ignore")])
            assert (outcome.kind, outcome.tries) == ("error", 0)
            woken.set()
            await until(lambda: len(asyncio.all_tasks()) == 1)

    run_virtual(main())


def test_what_a_coroutine_gives_on_being_ended_counts() -> None:
    """A part of the result, say: it was computed, and nothing of it is lost."""

    async def save() -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return "what there was"
        return "all"

    outcome = run_virtual(call_once(make_tool(save, timeout_s=5)))
    assert (outcome.kind, outcome.value) == ("ok", "what there was")


def test_one_that_was_really_ended_is_tried_again() -> None:
    seen: list[int] = []

    async def dawdle() -> str:
        seen.append(1)
        await asyncio.sleep(10 if len(seen) < 3 else 0)
        return "there"

    outcome = run_virtual(call_once(make_tool(dawdle, timeout_s=5, retries=2, idempotent=True)))
    assert (outcome.kind, outcome.tries) == ("ok", 3)
    seen.clear()
    outcome = run_virtual(call_once(make_tool(dawdle, timeout_s=5, retries=1, idempotent=True)))
    assert (outcome.kind, outcome.tries) == ("timeout", 2)
    assert "within 5 s, 2 times, and was ended" in outcome.content


@dataclass
class Blocking:
    """Blocks calls in threads until the gate opens.

    Attributes:
        begun: calls that have begun.
    """

    gate: threading.Event
    begun: int = 0

    def tool(self, **options: Any) -> Tool:
        def block() -> None:
            self.begun += 1
            self.gate.wait()

        return make_tool(block, timeout_s=60, **options)

    async def outlive(self, loop: JumpingLoop, dispatcher: Dispatcher, count: int) -> list[ToolOutcome]:
        """The outcomes of so many calls, all of which have begun when their time is over."""
        most = self.begun + count
        turn = asyncio.create_task(dispatcher.run_turn(1, [ask_for("block")] * count))
        await until(lambda: self.begun == most)
        loop.ahead_s += 100
        return await turn


def test_a_thread_that_outlives_its_time_is_told_as_still_running(gate: threading.Event) -> None:
    """It is not tried again beside itself, whatever `retries` says."""

    async def main(loop: JumpingLoop) -> None:
        blocking = Blocking(gate)
        async with dispatching(blocking.tool(retries=3, idempotent=True)) as dispatcher:
            [outcome] = await blocking.outlive(loop, dispatcher, 1)
        assert (outcome.kind, outcome.tries, blocking.begun) == ("timeout", 1, 1)
        assert "cannot be ended: it is still running" in outcome.content
        assert outcome.error == "`block` gave nothing within 60 s; it is still running and holds its thread"

    run_jumping(main)


def test_a_tool_whose_threads_are_all_held_is_refused_until_one_is_free(gate: threading.Event) -> None:
    """To wait for a thread that may never come would be to wait in silence."""

    async def main(loop: JumpingLoop) -> None:
        blocking = Blocking(gate)
        async with dispatching(blocking.tool(concurrency=2)) as dispatcher:
            outcomes = await blocking.outlive(loop, dispatcher, 2)
            assert outcomes[1].error.endswith("holds its thread, as 2 of its executions are")
            [refused] = await dispatcher.run_turn(2, [ask_for("block")])
            assert (refused.kind, refused.tries, blocking.begun) == ("error", 0, 2)
            assert "2 executions of `block` outlived their 60 s and are still running" in refused.content
            gate.set()
            for turn in itertools.count(3):  # the threads let go of their functions a moment later
                [outcome] = await dispatcher.run_turn(turn, [ask_for("block")])
                assert outcome.kind in ("error", "ok")
                if outcome.kind == "ok":
                    break

    run_jumping(main)


def test_a_tool_whose_threads_are_held_keeps_no_other_from_its_own(gate: threading.Event) -> None:
    def add(a: int) -> int:
        return a + 1

    async def main(loop: JumpingLoop) -> None:
        blocking = Blocking(gate)
        async with dispatching(blocking.tool(concurrency=40), make_tool(add), parallel=40) as dispatcher:
            await blocking.outlive(loop, dispatcher, 40)
            [outcome] = await dispatcher.run_turn(2, [ask_for("add", a=1)])
        assert outcome.value == 2

    run_jumping(main)


def test_a_function_that_had_not_begun_when_its_time_was_over_never_does(gate: threading.Event) -> None:
    """It is not told as still running, and does nothing behind anybody's back."""
    called: list[int] = []

    def note() -> None:
        called.append(1)

    async def main(loop: JumpingLoop) -> None:
        blocking = Blocking(gate)
        async with dispatching(blocking.tool(), make_tool(note, timeout_s=60), threads=1) as dispatcher:
            turn = asyncio.create_task(dispatcher.run_turn(1, [ask_for("block"), ask_for("note")]))
            await until(lambda: blocking.begun == 1)
            loop.ahead_s += 100
            blocked, noted = await turn
            gate.set()
            await dispatcher.run_turn(2, [ask_for("block")])  # by the thread that the other would have had
        assert (blocked.kind, noted.kind) == ("timeout", "timeout")
        assert "still running" in blocked.content
        assert "and was ended" in noted.content
        assert called == []

    run_jumping(main)


async def test_a_cancelled_turn_does_not_wait_for_a_thread(gate: threading.Event) -> None:
    begun = threading.Event()

    def block() -> None:
        begun.set()
        gate.wait()

    async with dispatching(make_tool(block)) as dispatcher:
        turn = asyncio.create_task(dispatcher.run_turn(1, [ask_for("block")]))
        await until(begun.is_set)
        turn.cancel()
        await asyncio.wait([turn])
        assert turn.cancelled()
        assert not gate.is_set()


def test_a_coroutine_that_was_not_begun_when_it_was_ended_is_closed() -> None:
    """The turn is cancelled in the same round of the loop."""

    async def main() -> None:
        async def work() -> None:
            await asyncio.sleep(1)

        async with dispatching(make_tool(work)) as dispatcher:
            turn = asyncio.create_task(dispatcher.run_turn(1, [ask_for("work")]))
            await asyncio.sleep(0)
            turn.cancel()
            await asyncio.wait([turn])
            assert turn.cancelled()

    run_virtual(main())
