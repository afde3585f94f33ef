"""Tools in processes of their own: really ended, whatever they are at, and crashing by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import isolatedtools as own
import psutil
import pytest
from isolatedgauge import Gauge, double
from toolkit import ask_for, call_once, dispatching, make_tool, until


async def read_from(pipe: Path) -> str:
    """What another process writes into the named pipe, once it has."""
    return await asyncio.to_thread(pipe.read_text)


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_an_idle_process_is_used_again_and_calls_at_once_have_one_each(tmp_path: Path) -> None:
    """It is a group of its own, so that all of it can be ended."""
    async with dispatching(make_tool(own.where_am_i, isolate=True)) as dispatcher:
        [first] = await dispatcher.run_turn(1, [ask_for("where_am_i")])
        second, third = await dispatcher.run_turn(2, [ask_for("where_am_i", folder=str(tmp_path))] * 2)
    pids = {first.value["pid"], second.value["pid"], third.value["pid"]}
    assert len(pids) == 2
    assert sorted([second.value["calls"], third.value["calls"]]) == [1, 2]
    assert first.value["group"] == first.value["pid"] != os.getpid()
    assert not any(map(is_running, pids))


async def test_what_it_prints_and_reads_is_none_of_this_processs(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output may be where this process writes JSON."""
    async with dispatching(make_tool(own.shout, isolate=True)) as dispatcher:
        [spoken] = await dispatcher.run_turn(1, [ask_for("shout", text="noise")])
        [asked] = await dispatcher.run_turn(2, [ask_for("shout", text="ask")])
    assert spoken.value == "noise"
    assert asked.error.startswith("EOFError")
    assert capfd.readouterr().out == ""


async def test_a_coroutine_function_and_a_model_as_its_result_work_there() -> None:
    outcome = await call_once(make_tool(own.measure, isolate=True), arguments={"level": 2.5})
    assert (outcome.kind, outcome.value) == ("ok", {"level": 2.5})


async def test_a_timeout_ends_it_and_all_it_started(tmp_path: Path) -> None:
    """With a signal that nothing can take no notice of; and the next call has another process."""
    path = tmp_path / "pids"
    os.mkfifo(path)
    async with dispatching(make_tool(own.hang, isolate=True)) as dispatcher:
        turn = asyncio.create_task(dispatcher.run_turn(1, [ask_for("hang", path=str(path))]))
        pids = [int(pid) for pid in (await read_from(path)).split()]
        assert all(map(is_running, pids))
        turn.cancel()
        await asyncio.wait([turn])
        assert turn.cancelled()
        assert not is_running(pids[0])
    await until(lambda: not is_running(pids[1]))  # which is not this process's to wait for
    outcome = await call_once(make_tool(own.hang, isolate=True, timeout_s=0.05), arguments={"path": os.devnull})
    assert outcome.kind == "timeout"
    assert "and was ended" in outcome.content


async def test_a_crash_is_told_by_how_it_ended() -> None:
    """The next call has another process."""
    tools = make_tool(own.crash, isolate=True, sequential=True), make_tool(own.where_am_i, isolate=True)
    async with dispatching(*tools) as dispatcher:
        calls = [ask_for("crash", how="segfault"), ask_for("crash", how="exit"), ask_for("where_am_i")]
        *crashed, well = await dispatcher.run_turn(1, calls)
    assert [outcome.kind for outcome in crashed] == ["error", "error"]
    assert well.kind == "ok"
    told = "`crash` failed: its process ended with {} before it gave anything. The same may happen again."
    assert [outcome.content for outcome in crashed] == [told.format("SIGSEGV"), told.format("exit code 7")]


async def test_what_it_raises_is_told_as_if_it_were_raised_here() -> None:
    """Also what cannot be pickled, and what would end a process."""
    async with dispatching(make_tool(own.refuse, isolate=True, sequential=True)) as dispatcher:
        outcomes = await dispatcher.run_turn(1, [ask_for("refuse", how=how) for how in ("plain", "odd", "exit")])
    assert [outcome.error for outcome in outcomes] == ["LookupError: plain", "OddError: odd", "SystemExit: 3"]
    assert "OddError" in outcomes[1].content


async def test_its_tries_and_its_context_are_those_of_any_tool() -> None:
    """What cannot be sent there is told."""
    tool = make_tool(own.flicker, isolate=True, idempotent=True, retries=2)
    outcome = await call_once(tool, deps={"a": 1})
    assert (outcome.kind, outcome.value, outcome.tries) == ("ok", 2, 2)
    outcome = await call_once(tool, deps=lambda: None)
    assert outcome.error.startswith("DataError: what `flicker` gets cannot be sent to its process")


async def test_a_tool_of_a_module_and_one_of_an_instance_are_found_there() -> None:
    """Where the name of the function is that of its tool."""
    async with dispatching(double, Gauge(40).add) as dispatcher:
        doubled, added = await dispatcher.run_turn(1, [ask_for("double", number=21), ask_for("add", number=2)])
    assert (doubled.kind, added.kind) == ("ok", "ok")
    assert (doubled.value[0], added.value) == (42, 42)
    assert doubled.value[1] != os.getpid()


async def test_a_result_that_is_no_json_is_told_with_its_place() -> None:
    outcome = await call_once(make_tool(own.give_set, isolate=True))
    assert outcome.content.startswith("`give_set` was executed, but what it gave cannot be told")
    assert "$.tags is a set" in outcome.content


ASKING = """
import asyncio, os, time

def go_on() -> None:
    with open({path!r}, "w") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(0.01)

if __name__ == "__main__":
    from tidemill.agents.calling.isolation import Processes
    from tidemill.agents.tools.tool import Tool
    from tidemill.resources.threads import Threads

    asyncio.run(Processes(Threads("tool", lambda: 1)).run(Tool("go_on", "", None, go_on), {{}}))
"""


async def test_a_process_ends_with_the_script_whose_function_it_calls(tmp_path: Path) -> None:
    """However that dies. The script is imported there, without what stands below `if __name__ == "__main__"`."""
    path, script = tmp_path / "pid", tmp_path / "asking.py"
    script.write_text(ASKING.format(path=str(path)))
    os.mkfifo(path)
    asking = await asyncio.create_subprocess_exec(sys.executable, str(script))
    try:
        isolated = psutil.Process(int(await read_from(path)))
        asking.send_signal(signal.SIGKILL)
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [isolated], 30)
        assert gone
    finally:
        await asking.wait()
