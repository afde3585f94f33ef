"""Configurations with planted mistakes, by the thousand: each mistake is reported at its line and column, nothing else.

    python benchmarks/proofs/config_fuzz.py                  # 5,000 cases: about two minutes
    python benchmarks/proofs/config_fuzz.py --cases 500 --formats toml
    python benchmarks/proofs/config_fuzz.py --first 4711 --cases 1 --show

A case is a schema, a valid document of it in one of the formats, and one to three mistakes in it; every tenth has
none, and must load as what was meant. A seed gives the same case each time. Fails when a report is missing, wrong or
too much, or when fewer of the mistyped names than wanted are suggested; each failure is shown with its seed, made as
small as it gets.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "config")]

from machine import describe_machine  # noqa: E402 - beside the folder of this script
from planted_cases import RENDERERS, Case, Cases, Verdict, judge  # noqa: E402
from planted_shrinking import shrink  # noqa: E402
from planted_tree import KINDS  # noqa: E402
from tables import Target, render_table  # noqa: E402
from workload import WORK  # noqa: E402

MIN_SUGGESTED = 0.99
MAX_SHOWN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--formats", nargs="+", choices=RENDERERS, default=list(RENDERERS))
    parser.add_argument("--mistakes", type=int, help="so many in each case")
    parser.add_argument("--show", action="store_true", help="print every document")
    given = parser.parse_args()
    print(describe_machine(WORK, ("tidemill", "pydantic", "pyyaml")), flush=True)
    started = time.perf_counter()
    found = run(range(given.first, given.first + given.cases), given.formats, given.mistakes, show=given.show)
    report(found, time.perf_counter() - started)


def run(
    seeds: range, formats: list[str], mistakes: int | None = None, *, show: bool = False
) -> dict[str, list[tuple[Case, Verdict]]]:
    """The verdicts by format."""
    cases = Cases()
    found: dict[str, list[tuple[Case, Verdict]]] = {suffix: [] for suffix in formats}
    shown = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            suffix = formats[seed % len(formats)]
            case = cases.make(seed, suffix, 0 if seed % 10 == 9 and mistakes is None else mistakes)
            verdict = judge(case, Path(folder))
            if show:
                print(f"--- seed {seed} ---\n{verdict.text}")
            if verdict.disagreements and shown < MAX_SHOWN:
                print_failure(case, verdict, Path(folder))
                shown += 1
            found[suffix].append((case, verdict))
    return found


def print_failure(case: Case, verdict: Verdict, folder: Path) -> None:
    """The case as small as it gets with the same kind of disagreement."""
    small = shrink(case, folder)
    print(f"\nseed {case.seed}, {case.suffix}:", *verdict.disagreements, sep="\n  ")
    print("smallest:", *small.disagreements, sep="\n  ")
    print(small.text.replace("\r", ""), flush=True)


def report(found: dict[str, list[tuple[Case, Verdict]]], took_s: float) -> None:
    rows = []
    for suffix, judged in found.items():
        told = sum((verdict.mistakes for _, verdict in judged), Counter[str]())
        wrong = sum(bool(verdict.disagreements) for _, verdict in judged)
        counts = [f"{told[kind]:,}" for kind in KINDS]
        valid = sum(not verdict.mistakes for _, verdict in judged)
        rows.append([suffix, f"{len(judged):,}", f"{valid:,}", *counts, f"{wrong:,}"])
    print(f"\nplanted mistakes, by key path they show at ({took_s:.0f} s)")
    print(render_table(["format", "cases", "valid", *KINDS, "not as planted"], rows))
    verdicts = [verdict for judged in found.values() for _, verdict in judged]
    misses = [miss for verdict in verdicts for miss in verdict.misses]
    suggested = sum(verdict.suggested for verdict in verdicts)
    wrong = sum(bool(verdict.disagreements) for verdict in verdicts)
    ratio = suggested / (suggested + len(misses)) if suggested or misses else 1.0
    for typo, original, other in misses[:MAX_SHOWN]:
        print(f"  not suggested: `{original}` for `{typo}`, but {f'`{other}`' if other else 'nothing'}")
    targets = [
        Target("cases reported exactly as planted", f"{len(verdicts) - wrong:,}", f"{len(verdicts):,}", not wrong),
        Target("names suggested", f"{ratio:.2%}", f"at least {MIN_SUGGESTED:.0%}", ratio >= MIN_SUGGESTED),
    ]
    print("\n".join(map(str, targets)))
    if not all(target.met for target in targets):
        sys.exit("BROKEN: " + ", ".join(target.name for target in targets if not target.met))


if __name__ == "__main__":
    main()
