"""Kill a job three times in the middle of its calls, and see what it is billed: `python examples/kill_and_resume.py`.

A loopback server stands for the paid API; it answers in 20 ms and counts every call it would bill.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tidemill as tm
from tidemill.testing import FaultProcess

RECORDS = 4_000
CONCURRENCY = 64
KILLS_AT = (700, 1_900, 3_100)

SCHEMA = """
from typing import Literal
from pydantic import BaseModel

class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
"""

JOB = """
source: {{path: reviews.jsonl}}
models:
  paid: {{model: openai/mock, base_url: "{url}", api_key: none-needed, limits: {{concurrency: {concurrency}}}}}
steps:
  - generate: {{model: paid, prompt: "Label this: {{{{ text }}}}", output: schema:Label, into: label, max_tokens: 16}}
sink: {{path: out, segment: {{records: 500}}}}
"""


def main(kills_at: Sequence[int] = KILLS_AT) -> None:
    """Run, kill, run again, until it is done; then count."""
    with tempfile.TemporaryDirectory() as folder, FaultProcess(latency_s=0.02) as server:
        job = write_job(Path(folder), server.base_url)
        for sitting, calls in enumerate(kills_at, 1):
            run = start(job)
            server.wait_for(billed=calls)
            run.kill()
            run.wait()
            print(f"run {sitting}: SIGKILL; the server has billed {server.billed:,} calls")
        start(job).wait()
        print(f"run {len(kills_at) + 1}: finished; the server has billed {server.billed:,} calls")

        landed = tm.dataset(job.parent / "out")
        ids = [record["id"] for record in landed]
        assert ids == list(range(RECORDS)), "every record, once, in order"
        repeated = server.billed - RECORDS
        assert repeated <= CONCURRENCY * len(kills_at), "no more than what was in flight"
        print(f"{len(landed):,} records landed, each once and in order; {repeated} calls were in flight at a kill")


def write_job(folder: Path, url: str) -> Path:
    """The records, the schema and the job file."""
    lines = (json.dumps({"id": i, "text": f"review number {i}"}) for i in range(RECORDS))
    (folder / "reviews.jsonl").write_text("\n".join(lines))
    (folder / "schema.py").write_text(SCHEMA)
    job = folder / "job.yaml"
    job.write_text(JOB.format(url=url, concurrency=CONCURRENCY))
    return job


def start(job: Path) -> subprocess.Popen[bytes]:
    """`tidemill run job.yaml` in a process of its own."""
    command = [sys.executable, "-m", "tidemill", "run", str(job)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
