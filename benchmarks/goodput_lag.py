"""How late a client's loop comes to a timer of 5 ms while its calls take 40 % of a core."""

from __future__ import annotations

from dataclasses import dataclass

from goodput_clients import OURS, SCRIPT, Place, run_client
from goodput_figures import Outcome
from goodput_scenarios import FULL, Scale, Scenario
from tables import Target, render_table
from tidemill.testing.faults import Latency, Load

LOAD_RATIO = 0.4
NEAR = 0.1
LATENCY_S = 0.1
TRIAL_PER_S = 400
HEAD = ("loop lag", "calls/s", "CPU us/call", "of a core", "p50 ms", "p99 ms", "most ms")


def measure_lag(scale: Scale, place: Place) -> list[str]:
    """The table, and the target; a first run at a low rate finds the rate that takes 40 % of a core."""
    length_s = max(1, scale.constant_s // 2)
    rows, trials = [], {}
    for client in (OURS, SCRIPT):
        trial = run_client(client, _at_rate(TRIAL_PER_S, length_s), place)
        rate = round(LOAD_RATIO * TRIAL_PER_S * length_s / (_load(trial) * length_s))
        trials[client] = _Paced(run_client(client, _at_rate(rate, length_s), place))
        rows.append(trials[client].list_cells(client))
    ours = trials[OURS]
    p99_ms = ours.outcome.told["lag_ms"]["p99"]
    is_judged = length_s >= FULL.constant_s // 10 and abs(ours.load - LOAD_RATIO) <= NEAR
    target = Target(
        f"loop lag p99 at {ours.load:.0%} load", f"{p99_ms:.1f} ms", "<= 25 ms", p99_ms <= 25 if is_judged else None
    )
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


@dataclass(frozen=True)
class _Paced:
    outcome: Outcome

    @property
    def load(self) -> float:
        return _load(self.outcome)

    def list_cells(self, client: str) -> list[str]:
        told = self.outcome.told
        lag_ms = told["lag_ms"]
        return [
            client,
            f"{told['landed'] / told['wall_s']:,.0f}",
            f"{told['cpu_s'] / told['landed'] * 1e6:,.0f}",
            f"{self.load:.0%}",
            *(f"{lag_ms[name]:.1f}" for name in ("p50", "p99", "p100")),
        ]
