"""A run that ends at any durable operation goes on to the very output of one that never ended."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from tidemill.calls.wire import Response
from tidemill.data.nodes import Filter, FlatMap
from tidemill.jobs.spec import JobSpec
from tidemill.testing import CrashDisk, chat_response, error_response
from workbench import (
    FarSide,
    ask,
    check_folders,
    describe_failed,
    label,
    make_job,
    numbered,
    read_committed,
    read_failed,
    read_output,
    run_job,
    write_records,
)


def is_wanted(record: dict[str, Any]) -> bool:
    if record["id"] == 33:
        raise ValueError("33 cannot be judged")
    return bool(record["id"] % 7)


def split(record: dict[str, Any]) -> list[dict[str, Any]]:
    """One to three records of each, none of every fifth."""
    if record["id"] % 5 == 0:
        return []
    return [{**record, "text": f"{record['text']} part {part}"} for part in range(1 + record["id"] % 3)]


def fan_out(record: dict[str, Any]) -> list[dict[str, Any]]:
    """None to two records of each, as its label says."""
    return [{**record, "side": side} for side in range(int(record["label"]["topic"], 16) % 3)]


def script(question: str) -> Response | None:
    """One record is refused, and one reply does not fit at first."""
    if question.startswith("Label: review 8."):
        return error_response(400, "no")
    if question == "Label: review 16. part 1":
        return chat_response("not what was asked")
    return None


def job_in(folder: Path, source: Path, **sink: Any) -> JobSpec:
    """The job with its output in `folder`."""
    steps = [Filter(fn=is_wanted), FlatMap(fn=split), label(), FlatMap(fn=fan_out), ask("Side {{ side }} of {{ label.topic }}")]
    return make_job(folder, steps, source=str(source), sink=sink, max_errors=20)


async def test_every_crash_point(tmp_path: Path) -> None:
    """Before, half through and after each durable operation: the same rows in order, no committed call sent again."""
    source = write_records(tmp_path / "records.jsonl", [*numbered(40), "{corrupt", *numbered(60, 40)])
    far = FarSide(script, latency_s=0.001)
    whole = job_in(tmp_path / "whole", source)
    expected = await run_job(whole, far)
    rows, failed = read_output(whole.folders), describe_failed(read_failed(whole.folders))
    calls = Counter(far.billed)
    assert (expected.records["landed"], expected.records["quarantined"]) == (len(rows), len(failed)) == (86, 5)

    watched = tmp_path / "watched"
    watched.mkdir()
    disk = CrashDisk(watched, tmp_path / "snapshots")
    await run_job(job_in(watched, source), far, disk)
    for snapshot in disk.distinct_snapshots:
        committed = read_committed(job_in(shutil.copytree(snapshot.folder, tmp_path / "copy"), source).folders)
        shutil.rmtree(tmp_path / "copy")
        job = job_in(snapshot.folder, source)
        far.forget()
        report = await run_job(job, far)
        assert (report.outcome, report.records, report.steps) == ("finished", expected.records, expected.steps), snapshot
        assert read_output(job.folders) == rows, snapshot
        assert describe_failed(read_failed(job.folders)) == failed, snapshot
        assert Counter(far.billed) == calls - committed, snapshot
        check_folders(job.folders)
    print(len(disk.snapshots), len(disk.distinct_snapshots), expected)
