"""What it costs to check and make the calls of tools that a model asks for, beside the functions' own calls.

    python benchmarks/tools_dispatch.py             # about half a minute
    python benchmarks/tools_dispatch.py --quick

One call a turn and twenty, of a coroutine function and of a plain one, which a thread calls; each through the checks of
its arguments, the tool's slots, its limit on time and the marks around its result; and one that a process apart calls.
CPU time of this process, all threads, median of the rounds; the bare way parses the arguments and calls the function,
a plain one in a thread by `asyncio.to_thread`. A turn of one such call ends with both threads asleep, and a virtual
machine's core that wakes runs several times slower at first: so it is also measured, and judged, with the cores kept
from sleeping by processes of the idle class, which run where nothing else would.
Fails when an outcome is missing or wrong, never because something was slow.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import uvloop

import tidemill as tm
from isolated_tool import RESULT, look_up_apart
from machine import describe_machine
from tables import Target, render_table
from tidemill.agents.calling.dispatcher import Dispatcher
from tidemill.agents.calling.outside import EngineOutside
from tidemill.agents.calling.places import Places
from tidemill.calls.engine import Engine
from tidemill.models.messages import ToolCall
from tidemill.testing import ScriptedTransport
from wakefulness import keep_awake
from workload import WORK

ARGUMENTS = '{"query": "tide mills of Brittany", "count": 5}'
TOGETHER = 20


async def search(query: str, count: int = 10) -> str:
    """Search.

    Args:
        query: what for.
        count: of results.
    """
    return RESULT


def look_up(query: str, count: int = 10) -> str:
    """Look something up.

    Args:
        query: what.
        count: of results.
    """
    return RESULT


@dataclass(frozen=True)
class Case:
    """One kind of turn.

    Attributes:
        label: as the table has it.
        fn: what is called.
        together: calls of a turn.
        most_us: CPU that a call should take at most, None where nothing is aimed at.
        isolate: whether a process of its own calls it, whose CPU is not counted.
        awake: whether the cores are kept from sleeping meanwhile.
    """

    label: str
    fn: Callable[..., Any]
    together: int
    most_us: float | None
    isolate: bool = False
    awake: bool = False


CASES = (
    Case("coroutine function, one a turn", search, 1, 30),
    Case(f"coroutine function, {TOGETHER} a turn", search, TOGETHER, None),
    Case("plain function, one a turn", look_up, 1, None),
    Case("plain function, one a turn, cores awake", look_up, 1, 100, awake=True),
    Case(f"plain function, {TOGETHER} a turn", look_up, TOGETHER, None),
    Case("function in an idle process, one a turn", look_up_apart, 1, None, isolate=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    given = parser.parse_args()
    print(describe_machine(WORK), flush=True)
    calls, rounds = (2_000, 3) if given.quick else (10_000, 7)
    missing = uvloop.run(compare(calls, rounds))
    if missing:
        sys.exit("\n".join(["MISSING:", *missing]))


async def compare(calls: int, rounds: int) -> list[str]:
    """Print what a call costs in every case; gives what was missing."""
    engine, places = Engine(ScriptedTransport([]), rng=random.Random(0)), Places(random.Random(0))
    try:
        measured = []
        for case in CASES:
            with keep_awake() if case.awake else contextlib.nullcontext():
                measured.append(await measure(case, EngineOutside(engine, places), calls, rounds))
    finally:
        await places.close()
        await engine.close()
    rows = [(case.label, f"{bare:.1f}", f"{ours:.1f}") for case, (bare, ours, _) in zip(CASES, measured, strict=True)]
    print(f"\nCPU of a tool's call in us, {calls:,} calls, median of {rounds}")
    print(render_table(("", "bare", "checked and dispatched"), rows))
    for case, (_, ours, _) in zip(CASES, measured, strict=True):
        if case.most_us is not None:
            met = ours <= case.most_us
            print(Target(case.label, f"{ours:.1f} us", f"at most {case.most_us:g} us", met), flush=True)
    return [fault for _, _, faults in measured for fault in faults]


async def measure(case: Case, outside: EngineOutside, calls: int, rounds: int) -> tuple[float, float, list[str]]:
    """CPU of a call in us, made bare and dispatched, and what was missing."""
    tool = tm.tool(case.fn, concurrency=TOGETHER, isolate=case.isolate)
    asked = [ToolCall(id=f"call_{place}", name=tool.name, arguments=ARGUMENTS) for place in range(case.together)]
    dispatcher = Dispatcher({tool.name: tool}, outside=outside)
    faults = []

    async def run_bare(_: int) -> Sequence[Any]:
        given = [orjson.loads(call["arguments"]) for call in asked]
        if tool.is_async:
            return [await case.fn(**each) for each in given]
        if case.isolate:
            return [case.fn(**each) for each in given]
        return await asyncio.gather(*(asyncio.to_thread(case.fn, **each) for each in given))

    async def run_ours(turn: int) -> Sequence[Any]:
        return [outcome.value for outcome in await dispatcher.run_turn(turn, asked)]

    taken = []
    for way in (run_bare, run_ours):
        found = await way(1)
        if list(found) != [RESULT] * case.together:
            faults.append(f"{case.label}: a turn gave {found!r}")
        taken.append([await time_turns(way, calls // case.together) for _ in range(rounds)])
    await dispatcher.close()
    bare, ours = (statistics.median(each) / calls * 1e6 for each in taken)
    return bare, ours, faults


async def time_turns(run: Callable[[int], Awaitable[object]], turns: int) -> float:
    """CPU seconds of so many turns, all threads."""
    await asyncio.sleep(0)
    started = time.process_time()
    for turn in range(turns):
        await run(turn)
    return time.process_time() - started


if __name__ == "__main__":
    main()
