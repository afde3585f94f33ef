"""A job under a budget in a process of its own, to be killed: `python spender.py FOLDER BASE_URL BUDGET` (as JSON)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench import label, make_job, make_model

from tidemill.calls.limits import Limits, Price
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.job import JobSpec
from tidemill.resources.bridge import Bridge

CONCURRENCY = 16
PRICE = Price(100, 400)
"""Dear enough for a budget in dollars to be one that a reader can follow."""


@contextmanager
def start(folder: Path, base_url: str, budget: Mapping[str, float]) -> Iterator[subprocess.Popen[str]]:
    """The job's process; it is dead when the block ends."""
    command = [sys.executable, __file__, str(folder), base_url, json.dumps(budget)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def job_in(folder: Path, base_url: str, budget: Mapping[str, Any]) -> JobSpec:
    """The job over `records.jsonl` in `folder`."""
    limits = Limits(concurrency=CONCURRENCY, attempt_timeout_s=0.5, max_attempts=20)
    model = make_model(base_url=base_url, limits=limits, price=PRICE)
    return make_job(folder, [label(model=model)], sink={"segment": SegmentLimits(records=40)}, budget=budget)


def main() -> None:
    folder, base_url, budget = sys.argv[1:]
    with Bridge() as bridge:
        report = bridge.run(Runner(job_in(Path(folder), base_url, json.loads(budget))).run())
    sys.exit(report.exit_code)


if __name__ == "__main__":
    main()
