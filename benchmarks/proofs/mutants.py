"""The scopes broken in every way that `mutations.py` lists: each is noticed by its test.

    python benchmarks/proofs/mutants.py                  # some thirty mutants: about a minute and a half
    python benchmarks/proofs/mutants.py --only lock

Each mutant is a copy of the package with one change, over which its test alone is run, in a process that has torch and
pytest from the one it is forked from. Fails when a mutant survives, when what it changes is not in the source any more,
or when a test fails without any change.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import describe_machine  # noqa: E402 - beside the folder of this script
from mutations import MUTANTS, PACKAGE, ROOT, Mutant  # noqa: E402
from tables import Target, render_table  # noqa: E402
from workload import WORK  # noqa: E402

FAILED = 1
"""What pytest ends with where tests ran and one failed."""

SHARED = ["torch", "torch._dynamo", "numpy", "pydantic", "psutil", "pytest"]
"""What is imported once for all mutants: of Tidemill nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose name has it")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if given.only in mutant.name]
    print(describe_machine(WORK, ("tidemill", "torch", "pytest")), flush=True)
    started = time.perf_counter()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SHARED)
    with ProcessPoolExecutor(given.workers, context, max_tasks_per_child=1) as pool:
        whole = pool.submit(run_tests, {mutant.test for mutant in mutants})
        ended = list(pool.map(run_mutant, mutants))
        code, output = whole.result()
    if code:
        sys.exit(f"BROKEN: without any change:\n{output}")
    rows = [[mutant.name, describe(code), mutant.test] for mutant, (code, _) in zip(mutants, ended, strict=True)]
    print(f"\nmutants ({time.perf_counter() - started:.0f} s)\n{render_table(['what is broken', 'it', 'test'], rows)}")
    died = sum(code == FAILED for code, _ in ended)
    target = Target("mutants that die", f"{died}", f"{len(mutants)}", died == len(mutants))
    print(target)
    if not target.met:
        outputs = [f"{row[0]}\n{output}" for row, (code, output) in zip(rows, ended, strict=True) if code != FAILED]
        sys.exit("\n".join(["BROKEN", *outputs]))


def run_mutant(mutant: Mutant) -> tuple[int, str]:
    """How its test ended, over the package with the change."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / PACKAGE, Path(folder) / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        changed = Path(folder) / mutant.path
        changed.write_text(mutant.mutate(changed.read_text("utf-8")), "utf-8")
        return run_tests({mutant.test}, Path(folder) / PACKAGE.parent)


def run_tests(tests: set[str], source: Path = ROOT / PACKAGE.parent) -> tuple[int, str]:
    """How pytest ended over the package in `source`, and what it printed. Once in a process."""
    os.chdir(ROOT)
    os.environ.update(PYTHONPATH=str(source), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(source))
    with tempfile.TemporaryFile() as told, printing_to(told.fileno()):
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *sorted(tests)])
        sys.stdout.flush()
        told.seek(0)
        return int(code), told.read().decode(errors="replace")


@contextmanager
def printing_to(file: int) -> Iterator[None]:
    """What this process prints goes into `file`."""
    kept = [(number, os.dup(number)) for number in (1, 2)]
    for number, _ in kept:
        os.dup2(file, number)
    try:
        yield
    finally:
        for number, before in kept:
            os.dup2(before, number)
            os.close(before)


def describe(code: int) -> str:
    return {0: "SURVIVES", FAILED: "dies"}.get(code, f"ENDS WITH {code}")


if __name__ == "__main__":
    main()
