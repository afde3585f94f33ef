"""The job file as a durable run, its loop timed; the first interrupt ends it as Ctrl-C does."""

from __future__ import annotations

import json
import signal
import sys
import time

import tidemill as tm
from children import cpu_s, tell
from loop_lag import LagProbe
from tidemill.jobs.running.runner import Runner
from tidemill.resources.bridge import Bridge


def main(job_file: str, overrides: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background leaves it ignored
    runner, probe = Runner(tm.load_job(job_file, overrides).spec), LagProbe()
    cpu, started = cpu_s(), time.perf_counter()
    with Bridge() as bridge:
        report = bridge.run(probe.beside(runner.run()), lambda times, _: runner.stop(times))
    tell(
        outcome=report.outcome,
        reason=report.reason,
        landed=report.records["landed"],
        failed=sum(count for name, count in report.records.items() if name != "landed"),
        cpu_s=cpu_s() - cpu,
        wall_s=time.perf_counter() - started,
        lag_ms=probe.percentiles_ms(),
    )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
