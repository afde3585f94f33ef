"""How much of what a server lets through a client gets, and what it asks beyond.

    python benchmarks/goodput.py             # about twelve minutes
    python benchmarks/goodput.py --quick     # about a minute and a half, shorter windows and steps
    python benchmarks/goodput.py --only "known; bucket"

Each scenario is a far side: quotas of each kind, known to the client or not, quotas that halve and double, silent
queues, failures, an outage. Two clients meet it, each in a process of its own and against a server process of its own:
Tidemill's whole durable job, and the script everybody writes, a semaphore of 64 around aiohttp with an exponential
back-off (`client_semaphore.py`). What there was to get, what was refused and what is billed are the server's to say.
Goodput is good replies in the judged seconds, from the first call on, of those that a client at the rates that hold
would have had; a client that empties a bucket first can have more. Fails when a run did not do what it should, never
because something was slow.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from calls import write_options
from children import raise_file_limit
from goodput_clients import OURS, Place, open_place, run_both
from goodput_figures import Outcome, find_goodput, find_rate, find_tail
from goodput_lag import measure_lag
from goodput_picture import SVG, draw
from goodput_queue import measure_queue
from goodput_scenarios import FULL, QUICK, SMALL, Scale, Scenario, list_scenarios, make_stepped
from machine import describe_machine
from tables import Target, render_table
from workload import WORK

HEAD = ("scenario", "client", "good/s", "oracle/s", "goodput", "refused", "failed", "billed", "in flight", "last 1 %")
QUEUE, LAG = "silent queue", "loop lag"
Results = Mapping[str, Mapping[str, Outcome]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter")
    parser.add_argument("--small", action="store_true", help="too little to judge anything")
    parser.add_argument("--only", action="append", default=[], help="the scenarios whose names have this in them")
    parser.add_argument("--picture", type=Path, help=f"draw the stepped quota with headers ({SVG.name} in docs)")
    parser.add_argument("--json", type=Path, help="write what the servers counted")
    given = parser.parse_args()
    raise_file_limit()
    print(describe_machine(WORK), flush=True)
    scale = SMALL if given.small else QUICK if given.quick else FULL
    place = open_place(write_options())
    scenarios = [each for each in list_scenarios(scale) if is_asked_for(each.name, given.only)]
    results = run_all(scenarios, scale, place)
    show(scenarios, results)
    if is_asked_for(QUEUE, given.only):
        print(*measure_queue(scale, place), sep="\n", flush=True)
    if is_asked_for(LAG, given.only):
        print(*measure_lag(scale, place), sep="\n", flush=True)
    if given.picture:
        drawn = next(each for each in scenarios if each.name == make_stepped(scale.rate, scale.step_s, told=True).name)
        draw(drawn, results[drawn.name], given.picture)
    if given.json:
        given.json.write_text(json.dumps(describe(results)))
    if missing := find_missing(scenarios, results):
        sys.exit("\n".join(["MISSING:", *missing]))


def is_asked_for(name: str, only: Sequence[str]) -> bool:
    return not only or any(part in name for part in only)


def run_all(scenarios: Sequence[Scenario], scale: Scale, place: Place) -> dict[str, dict[str, Outcome]]:
    """Every scenario, a few at a time: none of them needs a tenth of a core."""
    with ThreadPoolExecutor(scale.at_once) as pool:
        running = {each.name: pool.submit(run_both, each, place) for each in scenarios}
        return {name: each.result() for name, each in running.items()}


def show(scenarios: Sequence[Scenario], results: Results) -> None:
    """The table, and the targets of each scenario."""
    rows = [list_cells(each, client, outcome) for each in scenarios for client, outcome in results[each.name].items()]
    print("", render_table(HEAD, rows), "", sep="\n")
    for each in scenarios:
        for target in judge(each, results[each.name][OURS]):
            print(target)
    sys.stdout.flush()


def judge(scenario: Scenario, outcome: Outcome) -> list[Target]:
    """What is wanted of Tidemill, and whether it is so."""
    found = [judge_one(outcome) for judge_one in scenario.judges]
    return [Target(f"{scenario.name}: {each.name}", each.measured, each.wanted, each.met) for each in found]


def list_cells(scenario: Scenario, client: str, outcome: Outcome) -> list[str]:
    length_s = scenario.length_s - scenario.start_s
    is_bounded = math.isfinite(outcome.oracle)
    stats = outcome.stats
    return [
        scenario.name,
        client,
        f"{find_rate(outcome):,.1f}",
        f"{outcome.oracle / length_s:,.1f}" if is_bounded else "",
        f"{find_goodput(outcome):.1%}" if is_bounded else "",
        f"{stats['refused']:,}",
        f"{stats['failed']:,}",
        f"{stats['billed']:,}",
        f"{stats['max_in_flight']:,}",
        f"{find_tail(outcome):.1%}" if scenario.records is not None else "",
    ]


def describe(results: Results) -> dict[str, dict[str, dict[str, object]]]:
    """What the servers counted, and what the clients told."""
    return {
        name: {
            client: {
                "records": outcome.records,
                "stats": outcome.stats,
                "timeline": outcome.timeline,
                "oracle": outcome.oracle if math.isfinite(outcome.oracle) else None,
                "told": outcome.told,
            }
            for client, outcome in clients.items()
        }
        for name, clients in results.items()
    }


def find_missing(scenarios: Sequence[Scenario], results: Results) -> list[str]:
    """What a run of Tidemill should have done, and did not."""
    missing = []
    for each in scenarios:
        outcome = results[each.name][OURS]
        told = outcome.told
        wanted = "finished" if each.records is not None else "stopped"
        if told["outcome"] != wanted:
            missing.append(f"{each.name}: the run ended as {told['outcome']}: {told['reason']}")
        if told["failed"] or (each.records is not None and told["landed"] != each.records):
            missing.append(f"{each.name}: {told['landed']:,} of {outcome.records:,} landed, {told['failed']:,} failed")
    return missing


if __name__ == "__main__":
    main()
