"""Draws what a process holds while it goes through JSON Lines as a list, as generators and as a stream.

    python benchmarks/memory_picture.py                 # 200 MB, into docs/memory.svg
    python benchmarks/memory_picture.py --size-mb 2 --output picture.svg

Each way is a process of its own, looked at from outside from its start to its end, imports included: its resident set,
against the CPU time it has used, so that other work on the machine does not stretch the picture. Needs `/proc`. Fails
when the ways did not see the same records, never because something was large.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from children import finish_child, start_child
from client_picture import WAYS
from machine import describe_machine
from picture import Line, Picture
from stream_data import make_large
from tables import render_table
from workload import HERE, WORK

SVG = HERE.parent / "docs" / "memory.svg"
EVERY_S = 0.01
MB = 10**6

Sample = tuple[float, float]
"""CPU seconds, and the resident set in MB of 1,000,000 bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mb", type=float, default=200, help="of the file (200)")
    parser.add_argument("--output", type=Path, default=SVG, help="the picture (docs/memory.svg)")
    given = parser.parse_args()
    print(describe_machine(WORK), flush=True)
    path = make_large(int(given.size_mb * MB))
    lines, rows, seen = [], [], set()
    for way in WAYS:
        samples, told = watch_child("client_picture.py", way, path)
        lines.append(Line(way, samples))
        rows.append(
            (way, f"{told['records']:,}", f"{told['states']:,}", f"{told['cpu_s']:.1f}", f"{_peak(samples):,.0f}")
        )
        seen.add((told["records"], told["characters"]))
    size = f"{path.stat().st_size / MB:,.0f} MB"
    print(f"\n{size} of JSON Lines, mapped and filtered")
    print(render_table(("way", "records", "states", "CPU s", "peak RSS MB"), rows))
    if len(seen) > 1:
        sys.exit(f"MISSING: the ways saw different records: {seen}")
    title = f"Memory while {size} of JSON Lines are gone through"
    given.output.write_text(Picture(title, "CPU seconds", "resident memory, MB", lines).render())
    print(f"drawn in {given.output}")


def watch_child(script: str, *arguments: object) -> tuple[list[Sample], dict[str, object]]:
    """Samples of a client from its start to its end, and what it told."""
    with start_child(script, *arguments) as process:
        samples: list[Sample] = []
        while process.poll() is None:
            sample = _look_at(process)
            if sample is not None:
                samples.append(sample)
            time.sleep(EVERY_S)
        return samples, finish_child(process)


def _look_at(process: subprocess.Popen[str]) -> Sample | None:
    """A sample, or None of a process that is about to end."""
    folder = Path("/proc") / str(process.pid)
    pages = int((folder / "statm").read_text().split()[1])
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])  # utime and stime of proc(5), counted behind the name
    held = pages * os.sysconf("SC_PAGE_SIZE") / MB
    return (ticks / os.sysconf("SC_CLK_TCK"), held) if held else None


def _peak(samples: Sequence[Sample]) -> float:
    return max(held for _, held in samples)


if __name__ == "__main__":
    main()
