"""What an agent costs: 1,000 runs of four turns and two tools, against a bare loop that makes the same calls.

    python benchmarks/agents.py             # about two minutes
    python benchmarks/agents.py --quick     # a quarter of a minute, rougher

A run asks its model four times and calls two coroutine functions twice each: the one, the other, both in one turn. The
model is a process of its own that counts what it is sent. CPU time is that of the client's process, all threads, after
a warm-up of 64 runs; rounds are interleaved, and every ratio is the median over the rounds. Fails when an answer, a
request or a result of a tool is missing, never because something was slow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_work import TURNS
from calls import ratio_to
from children import open_server, raise_file_limit, run_child
from client_agents_own import make_stream
from driving import WARM_UP
from machine import describe_machine
from tables import Target, render_table
from workload import WORK

FLOOR, OURS, JOB = "aiohttp, bare loop", "Tidemill, iterated", "Tidemill, durable job"
MOST_RATIO = 1.5
MOST_GROWTH_MB = 16.0
"""What a client may hold more after ten times as many runs."""

Results = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Setting:
    """One comparison.

    Attributes:
        agents: runs of each client in a round.
        in_flight: of them at once.
        rounds: of all clients.
        folder: where jobs are written.
    """

    agents: int
    in_flight: int
    rounds: int = 1
    folder: Path = WORK / "agents"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and memory is not judged")
    given = parser.parse_args()
    raise_file_limit()
    print(describe_machine(WORK), flush=True)
    missing = []
    for in_flight in (64, 200):
        missing += compare_cpu(Setting(1_000, in_flight, 2 if given.quick else 7))
    if not given.quick:
        missing += compare_memory(1_000, 10_000, 64)
    if missing:
        sys.exit("\n".join(["MISSING:", *missing]))


def compare_cpu(setting: Setting) -> list[str]:
    """CPU of the client's process a run; gives what was missing."""
    results, missing = measure(setting)
    print(f"\n{setting.agents:,} agents of 4 turns, {setting.in_flight} at once, median of {setting.rounds}")
    print(render_results(results))
    ratio = ratio_to(results, OURS, FLOOR, "cpu_s")
    met = ratio <= MOST_RATIO
    print(Target("CPU of an agent, of the bare loop's", f"{ratio:.2f}x", f"at most {MOST_RATIO:g}x", met), flush=True)
    return missing


def measure(setting: Setting) -> tuple[Results, list[str]]:
    """Every client once a round, and what was missing in any."""
    results: dict[str, list[Mapping[str, Any]]] = {name: [] for name in (FLOOR, OURS, JOB)}
    missing: list[str] = []
    with open_server("server_agents.py", 0.0) as port:
        base_url = f"http://127.0.0.1:{port}/v1"
        asked = write_request(base_url, setting.folder)
        for _ in range(setting.rounds):
            sizes = set()
            for name, found in results.items():
                found.append(run_client(name, base_url, setting, asked))
                counts = take_counts(base_url)
                sizes.add(counts["size"])
                missing += find_missing(name, setting.agents, found[-1]["calls"], counts)
            if len(sizes) > 1:
                missing.append(f"the clients sent different requests: {sizes} bytes")
    return results, missing


def run_client(name: str, base_url: str, setting: Setting, asked: Path) -> dict[str, Any]:
    """What one client tells."""
    if name == FLOOR:
        return run_child("client_agents_bare.py", base_url, setting.agents, setting.in_flight, asked)
    return run_own("job" if name == JOB else "stream", base_url, setting)


def run_own(way: str, base_url: str, setting: Setting) -> dict[str, Any]:
    """What Tidemill's client tells; a job's folder is a fresh one."""
    setting.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        return run_child("client_agents_own.py", way, base_url, setting.agents, setting.in_flight, folder)


def write_request(base_url: str, folder: Path) -> Path:
    """A file with a request of an agent, as JSON, which the bare loop makes its own of."""
    assert sum(1 for _ in make_stream(base_url, 1, 1)) == 1
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "request.json"
    path.write_text(take_counts(base_url)["sample"])
    return path


def take_counts(base_url: str) -> dict[str, Any]:
    """What the model was sent since this was last asked."""
    with urllib.request.urlopen(base_url) as response:
        counts: dict[str, Any] = json.loads(response.read())
    return counts


def find_missing(name: str, agents: int, answered: int, counts: Mapping[str, Any]) -> list[str]:
    """What a client should have done, and did not."""
    due = [agents + WARM_UP] * len(TURNS)
    faults = {
        f"{name}: {answered:,} runs answered, not {agents:,}": answered != agents,
        f"{name}: requests by turn were {counts['turns']}, not {due}": counts["turns"] != due,
        f"{name}: {counts['wrong']:,} requests held other turns or results than they should": counts["wrong"] > 0,
    }
    return [fault for fault, is_there in faults.items() if is_there]


def compare_memory(few: int, many: int, in_flight: int) -> list[str]:
    """The peak of a stream of agents that goes on ten times as long; gives what was missing."""
    peaks, missing = [], []
    with open_server("server_agents.py", 0.0) as port:
        base_url = f"http://127.0.0.1:{port}/v1"
        for agents in (few, many):
            found = run_own("stream", base_url, Setting(agents, in_flight))
            peaks.append(found["peak_rss_mb"])
            missing += find_missing(OURS, agents, found["calls"], take_counts(base_url))
    growth = peaks[1] - peaks[0]
    print(f"\npeak memory of {few:,} agents {peaks[0]:.0f} MiB, of {many:,} {peaks[1]:.0f} MiB")
    met = growth <= MOST_GROWTH_MB
    print(Target("memory of ten times as many", f"{growth:+.1f} MiB", f"at most {MOST_GROWTH_MB:+g} MiB", met))
    return missing


def render_results(results: Results) -> str:
    """The medians as a table."""
    head = ("client", "agents/s", "wall s", "CPU us/agent", "of the floor", "peak RSS MB")
    rows = []
    for name, rounds in results.items():
        middle = {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
        rows.append(
            (
                name,
                f"{middle['calls'] / middle['wall_s']:,.0f}",
                f"{middle['wall_s']:.2f}",
                f"{middle['cpu_s'] / middle['calls'] * 1e6:,.0f}",
                f"{ratio_to(results, name, FLOOR, 'cpu_s'):.2f}x",
                f"{middle['peak_rss_mb']:.0f}",
            )
        )
    return render_table(head, rows)


if __name__ == "__main__":
    main()
