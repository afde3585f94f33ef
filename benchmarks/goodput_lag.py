"""How late a client's loop comes to a timer of 5 ms while its calls take 40 % of a core."""

from __future__ import annotations

from goodput_clients import OURS, SCRIPT, Place, run_client
from goodput_figures import Outcome
from goodput_scenarios import QUICK, Scale, Scenario
from tables import Target, render_table
from tidemill.testing.faults import Latency, Load

LOAD_RATIO = 0.4
NEAR = 0.1
LATENCY_S = 0.1
TRIAL_PER_S = 400
HEAD = ("loop lag", "calls/s", "CPU us/call", "of a core", "p50 ms", "p99 ms", "most ms")


def measure_lag(scale: Scale, place: Place) -> list[str]:
    """The table, and the target; a first run at a low rate finds the rate that takes 40 % of a core."""
    trial = run_client(OURS, _at_rate(TRIAL_PER_S, scale.lag_s), place)
    rate = round(TRIAL_PER_S * LOAD_RATIO / _load(trial))
    paced = {client: run_client(client, _at_rate(rate, scale.lag_s), place) for client in (OURS, SCRIPT)}
    load, p99_ms = _load(paced[OURS]), paced[OURS].told["lag_ms"]["p99"]
    is_judged = scale.lag_s >= QUICK.lag_s and abs(load - LOAD_RATIO) <= NEAR
    target = Target(
        f"loop lag p99 at {load:.0%} load", f"{p99_ms:.1f} ms", "<= 25 ms", p99_ms <= 25 if is_judged else None
    )
    rows = [_list_cells(client, outcome) for client, outcome in paced.items()]
    return ["", render_table(HEAD, rows), "", str(target)]


def _at_rate(rate: int, length_s: int) -> Scenario:
    """Tidemill by its limit, the script by what is in flight."""
    return Scenario(
        "loop lag",
        Load(latency=Latency(median_s=LATENCY_S)),
        length_s,
        limits={"concurrency": {"min": 1, "start": 16, "max": 2_000}, "requests_per_minute": round(rate * 60 / 0.98)},
        records=rate * length_s,
        in_flight=max(1, round(rate * LATENCY_S)),
    )


def _load(outcome: Outcome) -> float:
    """Of a core, from the process's start of the work to its end."""
    return float(outcome.told["cpu_s"] / outcome.told["wall_s"])


def _list_cells(client: str, outcome: Outcome) -> list[str]:
    told = outcome.told
    return [
        client,
        f"{told['landed'] / told['wall_s']:,.0f}",
        f"{told['cpu_s'] / told['landed'] * 1e6:,.0f}",
        f"{_load(outcome):.0%}",
        *(f"{told['lag_ms'][name]:.1f}" for name in ("p50", "p99", "p100")),
    ]
