"""A server that never refuses: what comes while it is busy waits. The best fixed concurrency against `auto`."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from goodput_clients import OURS, SCRIPT, Place, run_client
from goodput_figures import Outcome, find_rate
from goodput_scenarios import QUICK, Scale, Scenario
from tables import Target, render_table
from tidemill.testing.faults import Latency, Load, Queue

SERVERS = 16
LOAD = Load(queue=Queue(servers=SERVERS, service=Latency(kind="lognormal", median_s=0.1, sigma=0.25, max_s=0.5)))
AT_ONCE = 6
HEAD = ("silent queue", "good/s", "of the best fixed", "p50 ms", "of the unloaded", "most in flight")


def measure_queue(scale: Scale, place: Place) -> list[str]:
    """The table of all fixed concurrencies, `auto` and the semaphore script, and the targets."""
    scenario = Scenario("silent queue", LOAD, scale.queue_s)
    given: dict[str, tuple[str, Mapping[str, Any]]] = {f"fixed {n}": (OURS, {"concurrency": n}) for n in scale.sweep}
    given |= {"auto": (OURS, {"concurrency": "auto"}), SCRIPT: (SCRIPT, {})}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {
            name: pool.submit(run_client, client, replace(scenario, limits=limits), place)
            for name, (client, limits) in given.items()
        }
        outcomes = {name: each.result() for name, each in running.items()}
    return describe(outcomes, is_judged=scale.queue_s >= QUICK.queue_s)


def describe(outcomes: Mapping[str, Outcome], *, is_judged: bool) -> list[str]:
    """What was measured, as lines."""
    rates = {name: find_rate(outcome) for name, outcome in outcomes.items()}
    best = max(rate for name, rate in rates.items() if name.startswith("fixed"))
    medians = {name: outcome.delays_s["p50"] for name, outcome in outcomes.items()}
    unloaded_s = next(iter(medians.values()))
    rows = [
        (
            name,
            f"{rates[name]:,.1f}",
            f"{rates[name] / best:.1%}",
            f"{1e3 * medians[name]:,.0f}",
            f"{medians[name] / unloaded_s:.2f}x",
            f"{outcome.stats['max_in_flight']:,}",
        )
        for name, outcome in outcomes.items()
    ]
    share, times = rates["auto"] / best, medians["auto"] / unloaded_s
    return [
        "",
        render_table(HEAD, rows),
        "",
        str(
            Target(
                "silent queue: auto of the best fixed", f"{share:.1%}", ">= 90%", share >= 0.9 if is_judged else None
            )
        ),
        str(
            Target("silent queue: p50 of the unloaded", f"{times:.2f}x", "<= 2.0x", times <= 2.0 if is_judged else None)
        ),
    ]
