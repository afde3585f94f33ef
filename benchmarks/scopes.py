"""What it costs to hold a scope around nothing, against what is written by hand instead.

    python benchmarks/scopes.py            # about ten seconds
    python benchmarks/scopes.py --quick

All ways run in this process, in turns, and each figure is the median over the rounds of CPU time. Fails when something
was not counted, never because something was slow.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from machine import describe_machine
from scope_latency import measure_latency
from scope_models import measure_models
from scope_ways import Setting
from workload import WORK

PARTS: dict[str, Callable[[Setting], list[str]]] = {"latency": measure_latency, "models": measure_models}
QUICK = Setting(times=20_000, rounds=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    print(describe_machine(WORK, ("tidemill",)), flush=True)
    faults = [f"{name}: {fault}" for name in given.only for fault in PARTS[name](QUICK if given.quick else Setting())]
    if faults:
        sys.exit("\n".join(["MISSING:", *faults]))


if __name__ == "__main__":
    main()
