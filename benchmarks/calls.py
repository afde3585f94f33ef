"""What a call costs: the whole job against the bare aiohttp loop, and against what a user would pick instead.

    python benchmarks/calls.py             # about six minutes; installs the peers the first time
    python benchmarks/calls.py --quick     # about a minute, rougher
    python benchmarks/calls.py --memory    # and the peak memory of a million records: ten minutes more

Each client is a process of its own, the server another; rounds are interleaved and every ratio is the median over the
rounds. CPU time is the client process's, all threads, from reading the job file to the sealed report, after a warm-up
of 64 calls (imports, for the peers also connections). Fails when a row, a commit or an fsync is missing, never
because something was slow.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tidemill as tm
from children import raise_file_limit, run_child
from machine import describe_machine
from memory import LARGE, SMALL, measure_job
from peers import make_peer
from tables import Target, render_table
from tidemill.testing import FaultProcess
from workload import JOB, WORK, override_job, write_records

FLOOR, OURS = "aiohttp, bare loop", "Tidemill, whole job"
Results = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Peer:
    """What a user would pick instead.

    Attributes:
        name: as `requirements/peers-NAME.txt` has it.
        label: as the tables show it.
        at_least: how many times Tidemill's CPU a call it should cost.
        share: its calls of one round, of Tidemill's.
    """

    name: str
    label: str
    at_least: float
    share: float

    @property
    def script(self) -> str:
        """The client that drives it."""
        return f"client_{self.name.replace('-', '_')}.py"


PEERS = (
    Peer("openai", "openai package", 18, 0.1),
    Peer("litellm", "litellm", 40, 0.04),
    Peer("pydantic-ai", "pydantic-ai", 40, 0.04),
    Peer("async-batch-llm", "async-batch-llm, SQLite, no network", 3, 0.2),
)


@dataclass(frozen=True)
class Setting:
    """One comparison.

    Attributes:
        calls: calls of one round, of the floor and of Tidemill.
        in_flight: calls in flight at once.
        latency_s: the server's.
        peers: who else takes part.
    """

    calls: int
    in_flight: int
    latency_s: float = 0.0
    peers: Sequence[Peer] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the calls")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true", help="without other packages, which pip installs")
    parser.add_argument("--memory", action="store_true", help="also the peak memory at 200,000 and 1,000,000 records")
    given = parser.parse_args()
    raise_file_limit()
    print(describe_machine(WORK), flush=True)
    calls = 4_000 if given.quick else 20_000
    missing = compare_cpu(Setting(calls, 64, peers=() if given.no_peers else PEERS), given.rounds)
    missing += compare_many(Setting(10_000, 2_000, 0.1), given.rounds)
    if given.memory:
        missing += measure_job(SMALL, LARGE)
    if missing:
        sys.exit("\n".join(["MISSING:", *missing]))


def compare_cpu(setting: Setting, rounds: int) -> list[str]:
    """CPU of the client process a call, without latency; gives what was missing."""
    results, missing = measure(setting, rounds)
    print(f"\nCPU of the client, {setting.in_flight} in flight, no latency, median of {rounds}")
    print(render_results(results))
    print(judge_ratio(results, "cpu_s", "CPU a call, of the bare loop's", at_most=1.5))
    for peer in setting.peers:
        less = ratio_to(results, peer.label, OURS, "cpu_s")
        wanted = f"at least {peer.at_least:g}x"
        print(Target(f"CPU a call, less than that of {peer.label}", f"{less:.1f}x", wanted, less >= peer.at_least))
    sys.stdout.flush()
    return missing


def compare_many(setting: Setting, rounds: int) -> list[str]:
    """CPU and wall time with many calls in flight; gives what was missing."""
    results, missing = measure(setting, rounds)
    print(
        f"\n{setting.calls:,} calls of {setting.latency_s * 1e3:.0f} ms, {setting.in_flight:,} in flight,"
        f" median of {rounds} (one by one: {setting.calls * setting.latency_s:,.0f} s)"
    )
    print(render_results(results))
    print(judge_ratio(results, "cpu_s", "CPU a call, of the tuned bare loop's", at_most=1.6))
    print(judge_ratio(results, "wall_s", "wall time, of the tuned bare loop's", at_most=1.6), flush=True)
    return missing


def judge_ratio(results: Results, figure: str, name: str, *, at_most: float) -> Target:
    """Tidemill's figure a call in units of the floor's."""
    ratio = ratio_to(results, OURS, FLOOR, figure)
    return Target(name, f"{ratio:.2f}x", f"at most {at_most:g}x", ratio <= at_most)


def measure(setting: Setting, rounds: int) -> tuple[Results, list[str]]:
    """Every client once a round, and what was missing in any."""
    peers = {peer.label: (peer, make_peer(peer.name)) for peer in setting.peers}
    calls = dict.fromkeys((FLOOR, OURS), setting.calls)
    calls.update({label: int(setting.calls * peer.share) for label, (peer, _) in peers.items()})
    results: dict[str, list[Mapping[str, Any]]] = {name: [] for name in calls}
    missing: list[str] = []
    options = write_options()
    for _ in range(rounds):
        bodies: dict[str, set[str]] = {}
        for name, number in calls.items():
            with FaultProcess(latency_s=setting.latency_s) as server:
                if name == OURS:
                    found = run_ours(server.base_url, number, setting.in_flight)
                else:
                    peer, python = peers.get(name, (None, sys.executable))
                    script = "client_aiohttp.py" if peer is None else peer.script
                    found = run_child(script, server.base_url, number, setting.in_flight, options, python=python)
                bodies[name] = set(server.billed_bodies)
            missing += [f"{name}: {fault}" for fault in found.get("missing", ())]
            if found["calls"] != number:
                missing.append(f"{name}: {found['calls']:,} calls answered, not {number:,}")
            results[name].append(found)
        if bodies[FLOOR] != bodies[OURS]:
            missing.append("the bare loop and Tidemill did not send the same bytes")
    return results, missing


def run_ours(base_url: str, calls: int, in_flight: int) -> dict[str, Any]:
    """One run of the job into a fresh folder."""
    folder = WORK / "calls"
    shutil.rmtree(folder, ignore_errors=True)
    source = write_records(folder / "reviews.jsonl", calls)
    warm_up, overrides = (
        override_job(source=source, output=folder / output, base_url=base_url, concurrency=in_flight)
        for output in ("warm-up", "out")
    )
    found = run_child("client_tidemill.py", JOB, json.dumps(warm_up), json.dumps(overrides), calls, in_flight)
    shutil.rmtree(folder)
    return found


def write_options() -> Path:
    """A file with the fields that the job sends beside its messages, as JSON."""
    source = write_records(WORK / "one.jsonl", 1)
    overrides = override_job(source=source, output=WORK / "none", base_url="http://127.0.0.1:1/v1", concurrency=1)
    (trial,) = tm.load_job(JOB, overrides).preview(1, call=False)
    request = trial.exchanges[0].request
    path = WORK / "options.json"
    path.write_text(json.dumps({key: value for key, value in request.items() if key not in ("model", "messages")}))
    return path


def ratio_to(results: Results, above: str, below: str, figure: str) -> float:
    """The median over the rounds of one client's figure a call, in units of another's."""
    pairs = zip(results[above], results[below], strict=True)
    return float(statistics.median((a[figure] / a["calls"]) / (b[figure] / b["calls"]) for a, b in pairs))


def render_results(results: Results) -> str:
    """The medians as a table."""
    head = ("client", "calls/s", "wall s", "CPU us/call", "of the floor", "peak RSS MB", "commits", "fsyncs")
    rows = []
    for name, rounds in results.items():
        middle = {key: statistics.median(found.get(key, 0) for found in rounds) for key in _FIGURES}
        counts = [f"{middle[key]:,.0f}" if name == OURS else "" for key in ("commits", "fsyncs")]
        rows.append(
            (
                name,
                f"{middle['calls'] / middle['wall_s']:,.0f}",
                f"{middle['wall_s']:.2f}",
                f"{middle['cpu_s'] / middle['calls'] * 1e6:,.0f}",
                f"{ratio_to(results, name, FLOOR, 'cpu_s'):.2f}x",
                f"{middle['peak_rss_mb']:.0f}",
                *counts,
            )
        )
    return render_table(head, rows)


_FIGURES = ("calls", "wall_s", "cpu_s", "peak_rss_mb", "commits", "fsyncs")

if __name__ == "__main__":
    main()
