"""What it takes to load a configuration of 300 keys once Tidemill is imported, and to refuse a bomb.

    python benchmarks/config_load.py                # about a minute
    python benchmarks/config_load.py --rounds 1

Each round is a process of its own. The first load also builds what later ones find ready: the schema's shape, compiled
templates, imported modules. Judged by CPU time, which what else the machine does touches least. The floor is PyYAML's
C loader and Pydantic's validation of the same values, without places, origins, references or masking of secrets.
Fails when a bomb is taken, never because something was slow.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from children import run_child
from config_inputs import BOMBS
from machine import describe_machine
from tables import Target, render_table
from workload import WORK

LOAD_MS = 10.0
BOMB_S = 1.0
HEAD = ("", "keys", "first ms", "wall", "later ms", "wall", "floor ms", "of the floor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(describe_machine(WORK, ("tidemill", "pydantic", "pyyaml", "jinja2")), flush=True)
    targets = measure_loads(rounds)
    targets += measure_bombs()
    print("\n".join(map(str, targets)))
    if not all(target.met for target in targets[-len(BOMBS) :]):
        sys.exit("BROKEN: a bomb was taken, or only after a second")


def measure_loads(rounds: int) -> list[Target]:
    print(f"\nCPU and wall time to load, median of {rounds} processes")
    rows, targets = [], []
    for name in ("job", "training"):
        told = [run_child("client_config.py", name) for _ in range(rounds)]
        figures = {key: statistics.median(each[key] for each in told) for key in told[0]}
        shown = [
            f"{figures[key]:.1f}" for key in ("first_ms", "first_wall_ms", "later_ms", "later_wall_ms", "floor_ms")
        ]
        rows.append([name, f"{figures['keys']:.0f}", *shown, f"{figures['ratio']:.2f}x"])
        for when in ("first", "later"):
            took = figures[f"{when}_ms"]
            targets.append(Target(f"{name}, {when}", f"{took:.1f} ms", f"within {LOAD_MS:.0f} ms", took <= LOAD_MS))
    print(render_table(HEAD, rows))
    return targets


def measure_bombs() -> list[Target]:
    targets = []
    for name in BOMBS:
        told = run_child("client_config.py", name)
        took = told["wall_ms"] / 1e3
        measured = f"{'refused' if told['refused'] else 'TAKEN'} after {took:.2f} s"
        met = told["refused"] and took <= BOMB_S
        targets.append(Target(f"bomb of {name}", measured, f"refused within {BOMB_S:.0f} s", met))
    return targets


if __name__ == "__main__":
    main()
