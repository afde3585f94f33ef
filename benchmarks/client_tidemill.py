"""The job file, run as a user runs it, and a check that all of it became durable."""

from __future__ import annotations

import json
import sys
import time

import tidemill as tm
from children import cpu_s, peak_rss_mb, raise_file_limit, tell
from durability import DiskCounter, find_missing

WARM_UP = 64


def main(job_file: str, warm_up: list[str], overrides: list[str], records: int, concurrency: int) -> None:
    counter = DiskCounter()
    tm.load_job(job_file, warm_up).run(limit=WARM_UP)
    counter.reset()
    cpu, started = cpu_s(), time.perf_counter()
    report = tm.load_job(job_file, overrides).run()
    wall, cpu = time.perf_counter() - started, cpu_s() - cpu
    peak = peak_rss_mb()
    missing = find_missing(counter, report, records=records, concurrency=concurrency)
    tell(
        calls=report.calls["calls"],
        cpu_s=cpu,
        wall_s=wall,
        peak_rss_mb=peak,
        commits=counter.operations["commit"],
        fsyncs=counter.fsyncs,
        missing=missing,
    )


if __name__ == "__main__":
    raise_file_limit()
    job_file, warm_up, overrides, records, concurrency = sys.argv[1:]
    main(job_file, json.loads(warm_up), json.loads(overrides), int(records), int(concurrency))
