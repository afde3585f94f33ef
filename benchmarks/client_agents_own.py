"""Tidemill's agents over a stream of questions, gone through or written as a durable job."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tidemill as tm
from agent_work import INSTRUCTIONS, NAME, TOOLS, make_question
from children import cpu_s, peak_rss_mb, raise_file_limit, rss_mb, tell
from driving import WARM_UP
from workload import API_KEY, MODEL


class Questions:
    """So many questions, each made as it is read; can be read again, as a job needs it."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({"id": number, "question": make_question(number)} for number in range(self._count))


def make_stream(base_url: str, agents: int, in_flight: int) -> Any:
    """So many questions, each for an agent."""
    model = tm.model(f"openai/{MODEL}", base_url=base_url, api_key=API_KEY, limits=tm.Limits(concurrency=in_flight))
    tools = [tm.tool(fn, concurrency=in_flight) for fn in TOOLS]
    agent = tm.Agent(model, tools=tools, name=NAME, instructions=INSTRUCTIONS)
    return tm.from_iterable(Questions(agents)).agent(agent, "{{ question }}", concurrency=in_flight)


def run(way: str, base_url: str, agents: int, in_flight: int, folder: Path) -> int:
    """How many were answered."""
    stream = make_stream(base_url, agents, in_flight)
    if way == "job":
        report = stream.write(str(folder), progress=False)
        assert report.outcome == "finished", report.reason
        return sum(bool(record["answer"]) for record in tm.dataset(report.output))
    return sum(bool(record["answer"]) for record in stream)


def main(way: str, base_url: str, agents: int, in_flight: int, folder: Path) -> None:
    run(way, base_url, WARM_UP, in_flight, folder / "warm-up")
    cpu, started = cpu_s(), time.perf_counter()
    done = run(way, base_url, agents, in_flight, folder / "out")
    wall, cpu = time.perf_counter() - started, cpu_s() - cpu
    tell(calls=done, cpu_s=cpu, wall_s=wall, peak_rss_mb=peak_rss_mb(), rss_mb=rss_mb())


if __name__ == "__main__":
    raise_file_limit()
    way, address, agents, in_flight, place = sys.argv[1:]
    main(way, address, int(agents), int(in_flight), Path(place))
