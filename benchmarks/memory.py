"""What the job holds, and how soon it goes on: peak memory, resume, skipping in a .gz, the import.

    python benchmarks/memory.py                  # a million calls and more: about eight minutes
    python benchmarks/memory.py --scale 0.02     # about a minute; sizes too small to judge the memory by

Each measurement is a process of its own. Fails when a row is missing or the import brings in what it must not, never
because something was slow or large.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from children import finish_child, run_child, start_child
from machine import describe_machine
from tables import Target, render_table
from tidemill.errors import ResourceError
from tidemill.testing import FaultProcess
from workload import JOB, WORK, append_records, override_job, write_records

SMALL, LARGE = 200_000, 1_000_000
RESUMES, RESUMED = 3, 64
"""How often it is resumed, and the new records each time."""
ARCHIVED = 500_000
"""Records in the .gz: 240 MB of text."""
FOLDER = WORK / "memory"
MB = 10**6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 1,000,000 records")
    scale = parser.parse_args().scale
    print(describe_machine(WORK), flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    faults = measure_import()
    faults += measure_skip(int(ARCHIVED * scale))
    faults += measure_job(int(SMALL * scale), int(LARGE * scale))
    shutil.rmtree(FOLDER)
    if faults:
        sys.exit("\n".join(["MISSING:", *faults]))


def measure_import(times: int = 7) -> list[str]:
    """`import tidemill`."""
    found = [run_child("client_import.py") for _ in range(times)]
    taken = statistics.median(one["wall_s"] for one in found)
    print(f"\nimport tidemill, median of {times}: {taken * 1e3:.0f} ms, {found[0]['modules']} modules in all")
    print(Target("import", f"{taken * 1e3:.0f} ms", "under 200 ms", taken < 0.2), flush=True)
    return [f"`import tidemill` imports {', '.join(heavy)}" for heavy in [found[0]["heavy"]] if heavy]


def measure_skip(records: int, times: int = 3) -> list[str]:
    """Going on near the end of a .gz, against zlib alone."""
    path, text_bytes = write_varied(FOLDER / "varied.jsonl.gz", records)
    state = json.dumps(run_child("client_skip.py", path, f"@{records - 1}")["state"])
    ours, floor = [], []
    found: dict[str, Any] = {}
    for _ in range(times):
        floor.append(inflate(path))
        found = run_child("client_skip.py", path, state)
        ours.append(found["wall_s"])
    size_mb, skipped = path.stat().st_size / MB, text_bytes / MB
    speed, bare = skipped / statistics.median(ours), skipped / statistics.median(floor)
    print(f"\n.gz of {size_mb:.0f} MB, {skipped:.0f} MB of text: to the last record, median of {times}")
    rows = [
        ("gzip.open, read through", f"{bare:,.0f}", ""),
        ("Tidemill, from a state", f"{speed:,.0f}", f"{found['peak_rss_mb']:.0f}"),
    ]
    print(render_table(("way", "MB of text/s", "peak RSS MB"), rows))
    print(Target("skip", f"{speed:,.0f} MB/s", "at least 200 MB/s", speed >= 200), flush=True)
    return [] if found["id"] == records - 1 else [f"the state led to record {found['id']}, not {records - 1}"]


def measure_job(small: int, large: int) -> list[str]:
    """Peak memory at two sizes, then resuming the larger one."""
    source = write_records(FOLDER / "reviews.jsonl", large + RESUMES * RESUMED)
    faults: list[str] = []
    peaks = []
    with FaultProcess() as server:
        for records in (small, large):
            server.reset()
            started = time.perf_counter()
            found = run_child("client_run.py", JOB, job_of(server, source, f"out-{records}"), records)
            peaks.append(found["peak_rss_mb"])
            faults += check_run(found, before=0, records=records)
            taken = time.perf_counter() - started
            print(f"\n{records:,} records in {taken:.0f} s ({records / taken:,.0f}/s): peak RSS {peaks[-1]:.0f} MB")
        judged = large >= LARGE
        growth, peak = peaks[1] / peaks[0], peaks[1]
        print(
            Target(
                f"peak RSS, of that at {small:,}", f"{growth:.2f}x", "at most 1.1x", growth <= 1.1 if judged else None
            )
        )
        print(Target("peak RSS", f"{peak:.0f} MB", "at most 256 MB", peak <= 256 if judged else None), flush=True)
        faults += measure_resume(server, source, large, judged=judged)
    return faults


def measure_resume(server: FaultProcess, source: Path, done: int, *, judged: bool) -> list[str]:
    """From the start of the process to its first new call at the server; then the same over a source that grew."""
    faults: list[str] = []
    waits, peaks = [], []
    for turn in range(RESUMES + 1):
        if turn == RESUMES:
            append_records(source, done + RESUMES * RESUMED, done + (RESUMES + 1) * RESUMED)
        before, records = done + turn * RESUMED, done + (turn + 1) * RESUMED
        server.reset()
        started = time.perf_counter()
        with start_child("client_run.py", JOB, job_of(server, source, f"out-{done}"), records) as process:
            wait_for_call(server, process)
            waits.append(time.perf_counter() - started)
            found = finish_child(process)
        peaks.append(found["peak_rss_mb"])
        faults += check_run(found, before=before, records=records)
    wait, peak = statistics.median(waits[:RESUMES]), statistics.median(peaks[:RESUMES])
    print(f"\nresumed with {done:,} records done, plain JSONL, median of {RESUMES}")
    print(f"  first new call after {wait:.2f} s ({waits[RESUMES]:.2f} s where the source grew), peak RSS {peak:.0f} MB")
    print(Target("to the first new call", f"{wait:.2f} s", "at most 1 s", wait <= 1 if judged else None))
    print(Target("peak RSS", f"{peak:.0f} MB", "at most 120 MB", peak <= 120 if judged else None), flush=True)
    return faults


def wait_for_call(server: FaultProcess, process: subprocess.Popen[str]) -> None:
    """Return at the first call, or fail as the process did."""
    while True:
        try:
            server.wait_for(requests=1, timeout_s=5)
        except ResourceError:
            if process.poll() is not None:
                sys.exit(f"no call was made: {finish_child(process)}")
        else:
            return


def job_of(server: FaultProcess, source: Path, output: str) -> str:
    """The job's overrides, as JSON."""
    return json.dumps(
        override_job(source=source, output=FOLDER / output, base_url=server.base_url, concurrency=64),
    )


def check_run(found: dict[str, Any], *, before: int, records: int) -> list[str]:
    """What a run up to `records` should have left, and did not."""
    wanted = {"rows": records, "done": records, "before": before}
    faults = [f"{name}: {found[name]:,}, not {number:,}" for name, number in wanted.items() if found[name] != number]
    if found["outcome"] not in ("finished", "limit"):
        faults.append(f"the run ended as {found['outcome']}: {found['reason']}")
    return faults


def write_varied(path: Path, records: int) -> tuple[Path, int]:
    """Records of random words, which compress as text does (to about two fifths); gives the bytes of text, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5_000)]
    size = 0
    with gzip.open(path, "wb", compresslevel=6) as file:
        for number in range(records):
            size += file.write(json.dumps({"id": number, "text": " ".join(rng.choices(words, k=70))}).encode() + b"\n")
    return path, size


def inflate(path: Path) -> float:
    """Seconds that reading the text through takes the standard library."""
    started = time.perf_counter()
    with gzip.open(path, "rb") as file:
        while file.read(1 << 20):
            pass
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
