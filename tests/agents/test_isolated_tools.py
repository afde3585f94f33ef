"""Tools in processes of their own: really ended, whatever they are at, and crashing by themselves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import isolatedtools as own
import psutil
import pytest
from isolatedgauge import Gauge, double
from toolkit import JumpingLoop, ask_for, call_once, dispatching, make_tool, run_jumping

from tidemill.agents.calling import isolation


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
        second, third = await dispatcher.run_turn(2, [ask_for("where_am_i", meeting=str(tmp_path / "meeting"))] * 2)
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


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")


@pytest.mark.parametrize("leaves", [False, pytest.param(True, marks=ON_LINUX)])
@pytest.mark.parametrize("why", ["timeout", "cancelled"])
def test_a_given_up_execution_ends_with_all_it_started(why: str, leaves: bool, tmp_path: Path) -> None:
    """With a signal that nothing can take no notice of, in a session of its own or not; it is gone by then."""
    path = tmp_path / "pids"
    os.mkfifo(path)

    async def give_up(loop: JumpingLoop) -> None:
        async with dispatching(make_tool(own.hang, isolate=True, timeout_s=600.0)) as dispatcher:
            turn = asyncio.create_task(dispatcher.run_turn(1, [ask_for("hang", path=str(path), leaves=leaves)]))
            pids = [int(pid) for pid in (await read_from(path)).split()]
            assert all(map(is_running, pids))
            if why == "cancelled":
                turn.cancel()
            else:
                loop.ahead_s = 600.0
            await asyncio.wait([turn])
            assert not any(map(is_running, pids))
        if why == "cancelled":
            assert turn.cancelled()
        else:
            [outcome] = turn.result()
            assert outcome.kind == "timeout"
            assert "and was ended" in outcome.content

    run_jumping(give_up)


@ON_LINUX
async def test_what_an_execution_leaves_behind_ends_with_its_process() -> None:
    """Which is kept for the next one, until the run is over."""
    async with dispatching(make_tool(own.leave, isolate=True)) as dispatcher:
        [outcome] = await dispatcher.run_turn(1, [ask_for("leave")])
        assert is_running(outcome.value)
    assert not is_running(outcome.value)


async def test_more_is_kept_than_is_told() -> None:
    """As where the tool is called here."""
    outcome = await call_once(make_tool(own.split, isolate=True), arguments={"share": 3})
    assert outcome.value == {"share": 3, "rest": [1, 2]}
    assert '{"share":3}' in outcome.content
    assert "rest" not in outcome.content
    outcome = await call_once(make_tool(own.split_wrong, isolate=True))
    assert outcome.content.startswith("`split_wrong` was executed, but what it gave cannot be told")


async def test_a_crash_is_told_by_how_it_ended() -> None:
    """The next call has another process."""
    tools = make_tool(own.crash, isolate=True, sequential=True), make_tool(own.where_am_i, isolate=True)
    async with dispatching(*tools) as dispatcher:
        calls = [ask_for("crash", how="segfault"), ask_for("crash", how="exit"), ask_for("where_am_i")]
        *crashed, well = await dispatcher.run_turn(1, calls)
    assert [outcome.kind for outcome in crashed] == ["error", "error"]
    assert well.kind == "ok"
    told = "`crash` failed: its process ended {} before it gave anything. The same may happen again."
    assert [outcome.content for outcome in crashed] == [told.format("by SIGSEGV"), told.format("with exit code 7")]


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


async def test_what_is_too_large_to_be_sent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways; the process goes on."""
    monkeypatch.setattr(isolation, "MAX_FRAME", 4_000)
    async with dispatching(make_tool(own.repeat, isolate=True, sequential=True)) as dispatcher:
        calls = [ask_for("repeat", text="a" * 5_000, times=1), ask_for("repeat", text="ab", times=3_000)]
        sent, given, well = await dispatcher.run_turn(1, [*calls, ask_for("repeat", text="a", times=2)])
    told = r"DataError: what `repeat` gets cannot be sent to its process: it is \d+ bytes, expected 4000 at most"
    assert re.match(told, sent.error)
    assert re.match(r"the function's result is \d+ bytes, expected 4000 at most", given.error)
    assert well.value == "aa"


ASKING = """
import asyncio, collections, itertools, os, signal

def go_on() -> None:
    pid = str(os.getpid())
    with open({path!r}, "w") as file:
        file.write(pid)
    {busy}

if __name__ == "__main__":
    from tidemill.agents.calling.isolation import Processes
    from tidemill.agents.tools.tool import Tool

    asyncio.run(Processes().run(Tool("go_on", "", None, go_on), {{}}))
"""


@pytest.mark.parametrize(
    "busy",
    ["signal.pause()", "collections.deque(itertools.repeat(0), 0)"],
    ids=["asleep", "in C, which lets no other thread run"],
)
async def test_a_process_ends_with_the_script_whose_function_it_calls(busy: str, tmp_path: Path) -> None:
    """However that dies. The script is imported there, without what stands below `if __name__ == "__main__"`."""
    path, script = tmp_path / "pid", tmp_path / "asking.py"
    script.write_text(ASKING.format(path=str(path), busy=busy))
    os.mkfifo(path)
    asking = await asyncio.create_subprocess_exec(sys.executable, str(script))
    isolated = psutil.Process(int(await read_from(path)))
    try:
        asking.send_signal(signal.SIGKILL)
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [isolated], 30)
        assert gone
    finally:
        await asking.wait()
        if isolated.is_running():
            isolated.kill()


UNGUARDED = """
import sys
import tidemill as tm
from tidemill.testing import FaultServer, ToolCalls

print("begun", file=sys.stderr)

@tm.tool(isolate=True)
def weigh(sack: str) -> int:
    return len(sack)

asked = []

def reply(request):
    asked.append(request)
    return ToolCalls(("weigh", {"sack": "rye"}))

try:
    with FaultServer(reply=reply) as server:
        with tm.Agent(tm.model("openai/any", base_url=server.base_url, api_key="none"), tools=[weigh]) as agent:
            agent("How heavy is it?")
finally:
    print(f"asked {len(asked)}", file=sys.stderr)
"""


def test_a_script_that_calls_an_agent_when_imported_does_so_once(tmp_path: Path) -> None:
    """Imported by its tool's process it would ask the model anew, and its own tool's process again: refused there."""
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("begun")) == (1, 2)
    assert re.findall("asked .", ran.stderr) == ["asked 0", "asked 1"]
    assert ran.stderr.endswith(
        "ConfigError: the process of an isolated tool imports the script that has it, and cannot: an agent was called "
        'while its script was imported\n  put what the script does under `if __name__ == "__main__":`, or the tool '
        "into a module of its own\n"
    )


def test_a_tool_that_is_typed_in_cannot_be_isolated() -> None:
    """In a notebook, say: no other process can import it; the run ends before anything is asked of the tool."""
    ran = subprocess.run([sys.executable, "-c", UNGUARDED], capture_output=True, text=True, check=False)
    assert "ConfigError: tool `weigh` cannot be isolated: another process cannot import what is typed" in ran.stderr
    assert (ran.returncode, ran.stderr.count("begun")) == (1, 1)
