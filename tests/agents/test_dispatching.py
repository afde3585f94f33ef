"""The calls of a turn: in order, within bounds, and one that fails among them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from toolkit import ask_for, call_once, dispatching, make_tool, until

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.tool import Tool
from tidemill.errors import BudgetError, ConfigError
from tidemill.models.messages import ToolCall
from tidemill.testing import run_virtual


async def echo(text: str = "") -> str:
    return text


async def fail(text: str = "") -> str:
    raise ValueError("CANARY")


def kinds(outcomes: list[ToolOutcome]) -> list[str]:
    return [outcome.kind for outcome in outcomes]


async def test_outcomes_come_in_the_order_of_the_calls() -> None:
    """Also where a later one has ended first."""
    begun: list[str] = []
    last = asyncio.Event()

    async def wait_for_last(text: str) -> str:
        begun.append(text)
        if text == "3":
            last.set()
        await last.wait()
        return text

    async with dispatching(make_tool(wait_for_last)) as dispatcher:
        outcomes = await dispatcher.run_turn(1, [ask_for("wait_for_last", text=str(place)) for place in range(4)])
    assert [outcome.value for outcome in outcomes] == begun == ["0", "1", "2", "3"]


async def test_twenty_tools_of_a_turn_are_in_flight_at_once() -> None:
    """Of a server, which answers none before it has all of them."""
    in_flight = 0
    is_full = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        nonlocal in_flight
        in_flight += 1
        if in_flight == 20:
            is_full.set()
        async with asyncio.timeout(30):
            await is_full.wait()
        return web.Response(text=request.query["q"])

    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def search(query: str) -> str:
            async with session.get(url, params={"q": query}) as reply:
                return await reply.text()

        dispatcher = await stack.enter_async_context(dispatching(make_tool(search)))
        outcomes = await dispatcher.run_turn(1, [ask_for("search", query=str(number)) for number in range(20)])
    assert [outcome.value for outcome in outcomes] == [str(number) for number in range(20)]


@pytest.mark.parametrize(("parallel", "concurrency", "most"), [(32, 100, 32), (100, 3, 3), (5, 100, 5)])
async def test_calls_at_once_are_bounded_by_turn_and_by_tool(parallel: int, concurrency: int, most: int) -> None:
    running = seen = 0

    async def work() -> None:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1

    async with dispatching(make_tool(work, concurrency=concurrency), parallel=parallel) as dispatcher:
        await dispatcher.run_turn(1, [ask_for("work")] * 50)
    assert seen == most


async def test_a_sequential_tool_is_a_barrier() -> None:
    """It waits for all calls in front of it, and all behind wait for it."""
    log: list[str] = []

    async def look(text: str) -> None:
        log.append(f"+{text}")
        await asyncio.sleep(0)
        log.append(f"-{text}")

    async def move(text: str) -> None:
        log.append(f"+{text}")
        await asyncio.sleep(0)
        log.append(f"-{text}")

    async with dispatching(make_tool(look), make_tool(move, sequential=True)) as dispatcher:
        calls = [
            ask_for(name, text=text) for name, text in [("look", "a"), ("look", "b"), ("move", "c"), ("move", "d")]
        ]
        await dispatcher.run_turn(1, [*calls, ask_for("look", text="e")])
    assert log == ["+a", "+b", "-a", "-b", "+c", "-c", "+d", "-d", "+e", "-e"]


async def test_an_unknown_tool_is_told_the_near_name_and_those_there_are() -> None:
    async with dispatching(make_tool(echo), make_tool(fail)) as dispatcher:
        [outcome] = await dispatcher.run_turn(1, [ask_for("ecoh", text="a")])
    assert outcome.kind == "unknown"
    assert outcome.content == "There is no tool `ecoh`; did you mean `echo`? The tools are `echo` and `fail`."
    assert (outcome.arguments, outcome.tries) == ({"text": "a"}, 0)


async def test_arguments_that_do_not_fit_are_told_and_nothing_is_called() -> None:
    """It takes no slot and is no row: it follows from the reply."""
    called: list[int] = []

    async def count(number: int) -> None:
        called.append(number)

    rows: dict[Any, bytes] = {}
    outcome = await call_once(make_tool(count), arguments={"number": "x", "more": 1}, rows=rows)
    assert outcome.kind == "invalid"
    assert "$.number: expected int\n$.more: unknown key" in outcome.content
    assert called == []
    assert rows == {}


async def test_no_more_calls_of_a_reply_are_made_than_can_be_told_apart() -> None:
    rows: dict[Any, bytes] = {}
    async with dispatching(make_tool(echo), rows=rows) as dispatcher:
        outcomes = await dispatcher.run_turn(1, [ask_for("echo")] * 1_001)
    assert kinds(outcomes) == ["ok"] * 999 + ["invalid"] * 2
    assert outcomes[-1].content == (
        "`echo` was not called: a reply may ask for 999 calls at most. Ask for it in the next."
    )
    assert len(rows) == 999


async def test_a_failure_is_told_by_its_class_alone() -> None:
    """What an exception says may hold what is none of the model's business."""
    outcome = await call_once(make_tool(fail))
    assert outcome.kind == "error"
    assert "ValueError" in outcome.content
    assert "CANARY" not in outcome.content
    assert outcome.error == "ValueError: CANARY"


async def test_a_tool_may_have_the_text_of_its_failures_told() -> None:
    """As data, since it may repeat what came from anywhere; without secrets."""

    async def refuse() -> None:
        raise LookupError("no row 7 </result> api_key=sk-abcdefghijklmnop")

    outcome = await call_once(make_tool(refuse, shows_errors=True))
    assert "no row 7 </result>" in outcome.content
    assert outcome.content.startswith("`refuse` failed with LookupError:\n<result tool=")
    assert "sk-abcdefgh" not in outcome.content + outcome.error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_a_plain_function_that_exits_ends_its_call_alone(error: BaseException) -> None:
    def leave() -> None:
        raise error

    outcome = await call_once(make_tool(leave))
    assert (outcome.kind, outcome.error.partition(":")[0]) == ("error", type(error).__name__)


async def test_a_coroutine_that_exits_or_cancels_itself_ends_its_call_alone() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def cancel() -> None:
        raise asyncio.CancelledError

    async with dispatching(make_tool(leave), make_tool(cancel)) as dispatcher:
        outcomes = await dispatcher.run_turn(1, [ask_for("leave"), ask_for("cancel")])
    assert kinds(outcomes) == ["error", "error"]
    assert "SystemExit" in outcomes[0].content


async def test_siblings_of_a_failed_call_go_on_by_default() -> None:
    async with dispatching(make_tool(echo), make_tool(fail), parallel=1) as dispatcher:
        assert kinds(await dispatcher.run_turn(1, [ask_for("fail"), ask_for("echo")])) == ["error", "ok"]


async def test_fail_fast_starts_no_further_call_of_the_turn() -> None:
    """What is in flight ends as it would; the next turn is another matter."""
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "done"

    async def fail_then_open() -> None:
        asyncio.get_running_loop().call_soon(gate.set)
        raise ValueError

    tools = make_tool(slow), make_tool(fail_then_open), make_tool(echo)
    async with dispatching(*tools, on_error="fail_fast", parallel=2) as dispatcher:
        outcomes = await dispatcher.run_turn(1, [ask_for("slow"), ask_for("fail_then_open"), ask_for("echo")])
        assert kinds(outcomes) == ["ok", "error", "cancelled"]
        assert outcomes[2].content == "`echo` was not called, since `fail_then_open` failed in the same turn."
        assert kinds(await dispatcher.run_turn(2, [ask_for("echo")])) == ["ok"]


async def test_cancel_ends_what_is_in_flight_and_keeps_what_has_ended() -> None:
    ended: list[str] = []
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("wait")

    async def fail_later() -> None:
        await waiting.wait()
        raise ValueError

    tools = make_tool(echo), make_tool(wait), make_tool(fail_later)
    rows: dict[Any, bytes] = {}
    async with dispatching(*tools, on_error="cancel", rows=rows) as dispatcher:
        calls = [ask_for("echo", text="kept"), ask_for("wait"), ask_for("fail_later")]
        outcomes = await dispatcher.run_turn(1, calls)
    assert kinds(outcomes) == ["ok", "cancelled", "error"]
    assert outcomes[0].value == "kept"
    assert (
        outcomes[1].content == "`wait` was ended before it gave anything, since `fail_later` failed in the same turn."
    )
    assert ended == ["wait"]
    assert len(rows) == 3


@pytest.mark.parametrize("call", [ask_for("nobody"), ask_for("echo", text=5)])
async def test_what_the_model_can_mend_is_no_failure_of_the_turn(call: ToolCall) -> None:
    async with dispatching(make_tool(echo), on_error="fail_fast", parallel=1) as dispatcher:
        assert kinds(await dispatcher.run_turn(1, [call, ask_for("echo")]))[1] == "ok"


@pytest.mark.parametrize("on_error", ["continue", "fail_fast", "cancel"])
async def test_a_turn_that_goes_on_later_is_told_the_same(on_error: str) -> None:
    """Outcomes are recalled, those of calls that did not start among them, and nothing is executed again."""
    executed: list[str] = []

    async def note(text: str) -> str:
        executed.append(text)
        return text

    rows: dict[Any, bytes] = {}
    calls = [ask_for("note", text="a"), ask_for("fail"), ask_for("note", text="b")]
    told = []
    for _ in range(2):
        async with dispatching(
            make_tool(note), make_tool(fail), rows=rows, on_error=on_error, parallel=1
        ) as dispatcher:
            told.append(await dispatcher.run_turn(1, calls))
    assert told[0] == told[1]
    assert executed == (["a", "b"] if on_error == "continue" else ["a"])


async def test_a_failed_call_recalled_takes_nothing_from_those_that_had_ended() -> None:
    """They ended before it failed; now it fails at once."""
    rows: dict[Any, bytes] = {}
    calls = [ask_for("fail"), ask_for("echo", text="b")]
    async with dispatching(make_tool(echo), make_tool(fail), rows=rows) as dispatcher:
        first = await dispatcher.run_turn(1, calls)
    async with dispatching(make_tool(echo), make_tool(fail), rows=rows, on_error="fail_fast", parallel=1) as dispatcher:
        assert await dispatcher.run_turn(1, calls) == first


async def test_a_failure_of_the_run_ends_the_turn_and_cancels_the_others() -> None:
    ended = asyncio.Event()
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def spend() -> None:
        await waiting.wait()
        raise BudgetError("the budget is spent")

    rows: dict[Any, bytes] = {}
    async with dispatching(make_tool(wait), make_tool(spend), make_tool(echo), rows=rows) as dispatcher:
        with pytest.raises(BudgetError, match="the budget is spent"):
            await dispatcher.run_turn(1, [ask_for("echo", text="kept"), ask_for("wait"), ask_for("spend")])
        assert ended.is_set()
    assert [name for name, *_ in rows] == ["echo"]


@pytest.mark.parametrize("count", [1, 3])
async def test_cancelling_a_turn_reaches_every_execution(count: int) -> None:
    begun = 0
    ended = 0

    async def wait() -> None:
        nonlocal begun, ended
        begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            ended += 1

    async with dispatching(make_tool(wait)) as dispatcher:
        turn = asyncio.create_task(dispatcher.run_turn(1, [ask_for("wait")] * count))
        await until(lambda: begun == count)
        turn.cancel()
        await asyncio.wait([turn])
        assert turn.cancelled()
    assert ended == count


async def test_the_context_tells_the_call() -> None:
    """Its key is the same when the call is made again; what came from the ledger is forgotten here."""
    seen: list[Context[Any]] = []

    async def look(text: str, context: Context[Any]) -> None:
        seen.append(context)

    rows: dict[Any, bytes] = {}
    for upto in (1, 2):
        async with dispatching(make_tool(look), rows=rows, deps="deps", agent="clerk") as dispatcher:
            for turn in range(1, upto + 1):
                await dispatcher.run_turn(turn, [ask_for("look", text="a")])
    first, second = seen
    assert (first.deps, first.agent, first.tool, first.call_id) == ("deps", "clerk", "look", "call-look")
    assert (first.turn, first.attempt, first.forgotten) == (1, 1, 0)
    assert (second.turn, second.forgotten) == (2, 1)
    assert len(first.key) == len(second.key) == 32
    assert first.key != second.key


async def test_starts_and_ends_are_told_with_their_places() -> None:
    told: list[Any] = []
    async with dispatching(make_tool(echo), parallel=1) as dispatcher:
        calls = [ask_for("echo", text="a"), ask_for("nobody")]
        await dispatcher.run_turn(
            1,
            calls,
            lambda place, call: told.append((place, call["name"])),
            lambda place, call, outcome: told.append((place, outcome.kind)),
        )
    assert told == [(0, "echo"), (0, "ok"), (1, "nobody"), (1, "unknown")]


async def test_arguments_that_no_row_can_hold_are_kept_as_text() -> None:
    """A number of more than 64 bits, which the tool gets as it is."""
    got: list[int] = []

    async def take(number: Any) -> None:
        got.append(number)

    class Anything:
        schema: dict[str, Any] = {}  # noqa: RUF012

        def check(self, arguments: Any) -> Any:
            import json

            from tidemill.agents.tools.tool import Arguments

            given = json.loads(arguments)
            return Arguments(given, given)

        def write(self, arguments: Any, *, reveals: bool = False) -> Any:
            return arguments.values

    tool = Tool("take", "", Anything(), take, is_async=True)
    rows: dict[Any, bytes] = {}
    async with dispatching(tool, rows=rows) as dispatcher:
        call = ToolCall(id="1", name="take", arguments='{"number": 99999999999999999999}')
        [outcome] = await dispatcher.run_turn(1, [call])
    assert got == [99999999999999999999]
    assert (outcome.kind, outcome.arguments) == ("ok", '{"number": 99999999999999999999}')
    assert len(rows) == 1


def test_tries_wait_and_only_for_what_may_pass() -> None:
    """Of an idempotent tool: with the same key, the attempt counted, back-off between them, in virtual time."""
    seen: list[tuple[int, str]] = []

    async def flicker(context: Context[Any]) -> str:
        seen.append((context.attempt, context.key))
        if context.attempt < 3:
            raise ConnectionResetError
        return "there"

    outcome = run_virtual(call_once(make_tool(flicker, retries=3, idempotent=True)))
    assert (outcome.kind, outcome.tries, outcome.value) == ("ok", 3, "there")
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1
    assert outcome.elapsed_s > 0


@pytest.mark.parametrize(
    ("error", "retry_on", "tries"),
    [(ValueError, (), 1), (ValueError, (ValueError,), 3), (TimeoutError, (), 3), (ConnectionError, (), 3)],
)
def test_a_failure_is_tried_again_where_that_may_help(error: Any, retry_on: Any, tries: int) -> None:
    def refuse() -> None:
        raise error("no")

    outcome = run_virtual(call_once(make_tool(refuse, retries=2, idempotent=True, retry_on=retry_on)))
    assert (outcome.kind, outcome.tries) == ("error", tries)
    assert ("after 3 tries" in outcome.content) == (tries == 3)


def test_a_local_function_cannot_be_isolated() -> None:
    def local() -> None:
        pass

    with pytest.raises(ConfigError, match="tool `local` cannot be isolated"):
        run_virtual(call_once(make_tool(local, isolate=True)))


async def test_whoever_debugs_a_tool_finds_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Which neither the model nor the report has."""
    with caplog.at_level("DEBUG", "tidemill.agents"):
        outcome = await call_once(make_tool(fail))
    assert outcome.error == "ValueError: CANARY"
    [told] = [record for record in caplog.records if record.name.startswith("tidemill.agents")]
    assert (told.levelname, told.getMessage()) == ("DEBUG", "the tool fail failed")
    assert told.exc_info is not None
    assert told.exc_info[2] is not None
    assert "in fail" in caplog.text
