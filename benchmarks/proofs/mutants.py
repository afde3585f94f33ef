"""The scopes broken in every way that `mutations.py` lists: each is noticed by its test.

    python benchmarks/proofs/mutants.py                  # some thirty mutants: about three minutes
    python benchmarks/proofs/mutants.py --only lock

Each mutant is a copy of the package with one change, over which its test alone is run. Fails when a mutant survives,
when what it changes is not in the source any more, or when a test fails without any change.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import describe_machine  # noqa: E402 - beside the folder of this script
from mutations import MUTANTS, PACKAGE, ROOT, Mutant  # noqa: E402
from tables import Target, render_table  # noqa: E402
from workload import WORK  # noqa: E402

FAILED = 1
"""What pytest ends with where tests ran and one failed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose name has it")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if given.only in mutant.name]
    print(describe_machine(WORK, ("tidemill", "torch", "pytest")), flush=True)
    started = time.perf_counter()
    code, output = run_tests({mutant.test for mutant in mutants})
    if code:
        sys.exit(f"BROKEN: without any change:\n{output}")
    with ThreadPoolExecutor(given.workers) as pool:
        ended = list(pool.map(run_mutant, mutants))
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
    """How pytest ended over the package in `source`, and what it printed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *sorted(tests)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def describe(code: int) -> str:
    return {0: "SURVIVES", FAILED: "dies"}.get(code, f"ENDS WITH {code}")


if __name__ == "__main__":
    main()
