"""Blocks over random models, ended in every way there is, and held by many threads: all they change is put back.

    python benchmarks/proofs/restore_matrix.py                  # 1,000 trees, 60 blocks each: about three minutes
    python benchmarks/proofs/restore_matrix.py --trees 100 --times 1000

Each tree of modules goes through every way out of a block, at depths of one to three scopes, in this thread and in
another: the modes of its modules, what needs gradients, gradient mode and random numbers are as they were, bit for bit,
and the block's own error is the one that leaves it. Then eight threads enter and leave blocks over one model. Fails
with the smallest tree and plan that is not put back.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from crowding import check_crowd  # noqa: E402 - beside the folder of this script
from machine import describe_machine  # noqa: E402
from module_trees import compile_eagerly, module_trees  # noqa: E402
from restoring import DEPTHS, WAYS, Plan, check_matrix, plans  # noqa: E402
from tables import Target  # noqa: E402
from workload import WORK  # noqa: E402

THREADS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=1_000)
    parser.add_argument("--times", type=int, default=10_000, help="blocks of each thread")
    given_arguments = parser.parse_args()
    print(describe_machine(WORK, ("tidemill", "torch", "hypothesis")), flush=True)
    compile_eagerly(nn.Dropout())  # loads what compiling takes, so that the clock below leaves it out
    gc.collect()
    gc.freeze()  # blocks over a device collect garbage: that of this script only
    started = time.perf_counter()
    blocks = check_trees(given_arguments.trees)
    took_s = time.perf_counter() - started
    print(f"\n{len(WAYS)} ways out of a block: {'; '.join(WAYS)}; at depths {DEPTHS}, in two threads ({took_s:.0f} s)")
    wanted = given_arguments.trees * len(WAYS) * len(DEPTHS) * 2
    print(Target("blocks after which all was as before", f"{blocks:,}", f"{wanted:,}", blocks >= wanted), flush=True)
    started = time.perf_counter()
    held = check_crowd(THREADS, given_arguments.times)
    print(f"\n{THREADS} threads over one model ({time.perf_counter() - started:.0f} s)")
    wanted = THREADS * given_arguments.times
    print(Target("blocks in evaluation mode, as before at the end", f"{held:,}", f"{wanted:,}", held >= wanted))


def check_trees(trees: int) -> int:
    """Take so many trees through everything; the blocks that were."""
    blocks: list[int] = []

    @given(root=module_trees(), plan=plans())
    @settings(max_examples=trees, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    def check(root: nn.Sequential, plan: Plan) -> None:
        blocks.append(check_matrix(root, plan))

    check()
    return sum(blocks)


if __name__ == "__main__":
    main()
