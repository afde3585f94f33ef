"""The job file up to a limit, in a process of its own: what it held, and what it left."""

from __future__ import annotations

import json
import sys

import tidemill as tm
from children import cpu_s, peak_rss_mb, tell


def main(job_file: str, overrides: list[str], limit: int) -> None:
    report = tm.load_job(job_file, overrides).run(limit=limit)
    peak = peak_rss_mb()
    tell(
        outcome=report.outcome,
        reason=report.reason,
        rows=len(tm.dataset(report.output)),
        before=report.before,
        done=report.done,
        cpu_s=cpu_s(),
        peak_rss_mb=peak,
    )


if __name__ == "__main__":
    job_file, overrides, limit = sys.argv[1:]
    main(job_file, json.loads(overrides), int(limit))
