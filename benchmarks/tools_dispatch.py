"""What it costs to validate and dispatch one call of a tool, beside what it is made of.

    python benchmarks/tools_dispatch.py            # about a quarter of a minute
    python benchmarks/tools_dispatch.py --quick

CPU of this process, its threads included, by turns of one call after the other: each figure is the median of the
rounds. The arguments are JSON text, checked against the signature; the call goes out by a lane, under its time limit,
and its result is marked for the model. Fails when a result is wrong, never because something was slow.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import orjson

import tidemill as tm
from isolated_tool import count_here
from machine import describe_machine
from tables import Target, render_table
from tidemill.agents.calling.dispatcher import Dispatcher
from tidemill.agents.calling.outside import EngineOutside
from tidemill.agents.calling.places import Places
from tidemill.agents.tools.tool import Tool
from tidemill.calls.engine import Engine
from tidemill.models.messages import ToolCall
from tidemill.resources.bridge import Bridge
from tidemill.testing import ScriptedTransport
from workload import WORK

ASYNC_US = 30.0
SYNC_US = 100.0

ARGUMENTS = '{"query": "tide mills", "limit": 10}'


class Way(NamedTuple):
    """What is measured: `run` makes so many `calls`, and is run so many times more `rarely` than the others."""

    name: str
    run: Callable[[], Awaitable[Any]]
    calls: int = 1
    rarely: int = 1


async def search(query: str, limit: int = 10) -> str:
    """Find pages.

    Args:
        query: what to look for.
        limit: how many at most.
    """
    return query


def search_here(query: str, limit: int = 10) -> str:
    """Find pages.

    Args:
        query: what to look for.
        limit: how many at most.
    """
    return query


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    given = parser.parse_args()
    print(describe_machine(WORK, ("tidemill", "uvloop", "pydantic")), flush=True)
    with Bridge() as bridge:
        faults = bridge.run(measure_all(times=200 if given.quick else 2_000, rounds=5))
    if faults:
        sys.exit("\n".join(["WRONG:", *faults]))


async def measure_all(*, times: int, rounds: int) -> list[str]:
    """Print the table; gives what was wrong."""
    tools = {each.name: each for each in (tm.tool(search), tm.tool(search_here), tm.tool(count_here, isolate=True))}
    calls = [ask_for("search", ARGUMENTS), ask_for("search_here", ARGUMENTS), ask_for("count_here", '{"limit": 3}')]
    async with Engine(ScriptedTransport([]), rng=random.Random(0)) as engine:
        places = Places(random.Random(0))
        dispatcher = Dispatcher(tools, outside=EngineOutside(engine, places))
        ways = list_ways(dispatcher, places, tools["search"], calls)
        started = time.perf_counter()
        faults = await find_faults(dispatcher, calls)
        start_s = time.perf_counter() - started
        figures = await measure(ways, times, rounds)
        await dispatcher.close()
        places.close()
    rows = [(name, f"{each:.1f}") for name, each in figures.items()]
    print(f"\n{render_table(('', 'CPU us a call'), rows)}")
    print(f"  the first isolated call, its process started: {start_s:.2f} s\n")
    for name, most in {"async tool": ASYNC_US, "sync tool": SYNC_US}.items():
        print(Target(name, f"{figures[name]:.1f} us", f"at most {most:g} us", figures[name] <= most))
    return faults


def list_ways(dispatcher: Dispatcher, places: Places, tool: Tool, calls: list[ToolCall]) -> list[Way]:
    """What is measured."""
    here, beside, apart = ([call] for call in calls)
    return [
        Way("parsed and awaited by hand", call_by_hand),
        Way("checked alone", lambda: check(tool)),
        Way("async tool", lambda: dispatcher.run_turn(1, here)),
        Way("async tools, 20 in a turn", lambda: dispatcher.run_turn(1, here * 20), 20),
        Way("in a thread by hand", lambda: places.threads.run(search_here, "tide mills")),
        Way("sync tool", lambda: dispatcher.run_turn(1, beside)),
        Way("isolated tool, process idle", lambda: dispatcher.run_turn(1, apart), 1, 5),
    ]


async def find_faults(dispatcher: Dispatcher, calls: list[ToolCall]) -> list[str]:
    """What does not come as it should; what is done first also warms up."""
    outcomes = await dispatcher.run_turn(1, calls)
    pairs = zip(outcomes, ("tide mills", "tide mills", 3), strict=True)
    return [f"{outcome.tool}: {outcome.error or outcome.value}" for outcome, due in pairs if outcome.value != due]


async def measure(ways: list[Way], times: int, rounds: int) -> dict[str, float]:
    """Of each way, the CPU in microseconds that a call takes."""
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            repeats = times // (way.calls * way.rarely)
            started = time.process_time()
            for _ in range(repeats):
                await way.run()
            taken[way.name].append((time.process_time() - started) / (repeats * way.calls) * 1e6)
    return {name: statistics.median(each) for name, each in taken.items()}


def ask_for(name: str, arguments: str) -> ToolCall:
    return ToolCall(id="call", name=name, arguments=arguments)


async def call_by_hand() -> str:
    """What a loop without checks and bounds does."""
    return await search(**orjson.loads(ARGUMENTS))


async def check(tool: Tool) -> Any:
    return tool.signature.check(ARGUMENTS)


if __name__ == "__main__":
    main()
