"""Draws what gets through under a quota that halves and doubles: Tidemill, the semaphore script, and what could.

    python benchmarks/goodput_picture.py                 # steps of 20 s, into docs/goodput.svg
    python benchmarks/goodput_picture.py --step-s 1 --rate 60 --output picture.svg

The server tells by headers what is left, and a refused call when to come again, as providers do. Both clients run at
the same time, each against a server process of its own, and the server counts. `goodput.py` has the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from calls import write_options
from goodput_clients import OURS, SCRIPT, open_place, run_both
from goodput_figures import Outcome
from goodput_scenarios import FULL, Scenario, make_stepped
from machine import describe_machine
from picture import Line, Picture
from tidemill.testing.load.oracle import ask_oracle
from workload import HERE, WORK

SVG = HERE.parent / "docs" / "goodput.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-s", type=int, default=FULL.step_s, help="how long a quota stands (20)")
    parser.add_argument("--rate", type=int, default=FULL.rate, help="calls a second that the higher quota lets through")
    parser.add_argument("--output", type=Path, default=SVG, help="the picture (docs/goodput.svg)")
    given = parser.parse_args()
    print(describe_machine(WORK), flush=True)
    scenario = make_stepped(given.rate, given.step_s, told=True)
    draw(scenario, run_both(scenario, open_place(write_options())), given.output)


def draw(scenario: Scenario, outcomes: Mapping[str, Outcome], path: Path) -> None:
    """Write the picture of a scenario that both clients went through."""
    seconds = range(scenario.length_s)
    there = [
        (at_s, ask_oracle(scenario.load, second, second + 1, cost={"requests": 1}).sustained)
        for second in seconds
        for at_s in (second, second + 1)
    ]
    lines = [Line(name, list_points(outcomes[name], scenario)) for name in (SCRIPT, OURS)]
    lines.insert(1, Line("oracle", there))
    title = "Good replies under a quota that halves and doubles"
    path.write_text(Picture(title, "seconds", "good replies a second", lines, names_at="end").render())
    print(f"drawn in {path}")


def list_points(outcome: Outcome, scenario: Scenario) -> list[tuple[float, float]]:
    """Good replies of each second, in its middle."""
    return [(second + 0.5, counts["good"]) for second, counts in enumerate(outcome.timeline[: scenario.length_s])]


if __name__ == "__main__":
    main()
