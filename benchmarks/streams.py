"""What a stream costs and holds, against hand-written generators, pyarrow, Hugging Face and PyTorch's own way.

    python benchmarks/streams.py                 # half a million records, a gigabyte
    python benchmarks/streams.py --quick         # about a minute; too small to judge the memory by
    python benchmarks/streams.py --full          # 10 GB of JSON Lines, 100,000,000 records and indices
    python benchmarks/streams.py --only jsonl parquet

Each client is a process of its own; rounds are interleaved and every ratio is the median over the rounds, of CPU time
where one process does the work and of wall time where several do. Fails when a record is missing or a row cannot be
measured, never because something was slow or large.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

from machine import describe_machine
from stream_memory import measure_generated, measure_growth, measure_shuffle
from stream_rows import Setting
from stream_speed import (
    measure_access,
    measure_huggingface,
    measure_jsonl,
    measure_loader,
    measure_map,
    measure_parquet,
)
from workload import WORK

ROWS: dict[str, Callable[[Setting], list[str]]] = {
    "jsonl": measure_jsonl,
    "parquet": measure_parquet,
    "huggingface": measure_huggingface,
    "access": measure_access,
    "growth": measure_growth,
    "generated": measure_generated,
    "shuffle": measure_shuffle,
    "loader": measure_loader,
    "map": measure_map,
}
USUAL = Setting()
QUICK = replace(
    USUAL,
    rounds=3,
    records=100_000,
    accessed=100_000,
    small_bytes=20 * 10**6,
    large_bytes=200 * 10**6,
    generated=100_000,
    shuffled=500_000,
    mapped=20_000,
)
SMALL = replace(
    QUICK, rounds=1, records=2_000, accessed=2_000, small_bytes=10**5, large_bytes=10**6, generated=1_000, mapped=500
)
FULL = replace(USUAL, large_bytes=10**10, generated=10**8, shuffled=10**8, judged=True)
SIZES = {"quick": QUICK, "small": SMALL, "full": FULL}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="less of everything")
    size.add_argument("--small", action="store_true", help="what a test can wait for; no figure means anything")
    size.add_argument("--full", action="store_true", help="the sizes that the memory targets are about")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    setting = next((setting for name, setting in SIZES.items() if vars(given)[name]), USUAL)
    if given.rounds:
        setting = replace(setting, rounds=given.rounds)
    print(describe_machine(WORK), flush=True)
    faults = [f"{name}: {fault}" for name in given.only for fault in ROWS[name](setting)]
    if faults:
        sys.exit("\n".join(["MISSING:", *faults]))


if __name__ == "__main__":
    main()
