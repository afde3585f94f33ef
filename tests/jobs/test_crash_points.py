"""A run that ends at any durable operation goes on to the very output of one that never ended."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from workbench import (
    ONCE,
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
    refuse,
    run_job,
    write_records,
)

from tidemill.calls.limits import Budget
from tidemill.calls.wire import Response
from tidemill.data.nodes.single import Filter, FlatMap
from tidemill.disk import Disk
from tidemill.errors import StateError
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.opening.deletion import DELETING
from tidemill.jobs.running.report import Report
from tidemill.jobs.spec.job import JobSpec
from tidemill.testing import Crash, CrashDisk, Snapshot, StoppingDisk, chat_response, error_response


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


def job_in(folder: Path, source: Path, prompt: str = "Label: {{ text }}") -> JobSpec:
    """The job with its output in `folder`."""
    side = ask("Side {{ side }} of {{ label.topic }}")
    steps = [Filter(fn=is_wanted), FlatMap(fn=split), label(prompt=prompt), FlatMap(fn=fan_out), side]
    return make_job(folder, steps, source=str(source), max_errors=20)


@dataclass
class Expected:
    """What an uninterrupted run comes to."""

    report: Report
    rows: list[Any]
    failed: list[Any]
    calls: Counter[str]

    def check(self, report: Report, job: JobSpec, calls: Counter[str]) -> None:
        """Check a run that was ended and resumed with `calls`."""
        assert (report.outcome, report.records, report.steps) == ("finished", self.report.records, self.report.steps)
        assert read_output(job.folders) == self.rows
        assert describe_failed(read_failed(job.folders)) == self.failed
        assert calls == self.calls
        check_folders(job.folders)


async def expect(job: JobSpec, far: FarSide, **request: Any) -> Expected:
    """Run `job` without a crash."""
    far.forget()
    report = await run_job(job, far, **request)
    failed = describe_failed(read_failed(job.folders))
    return Expected(report, read_output(job.folders), failed, Counter(far.billed))


def committed_in(snapshot: Snapshot, source: Path, copy: Path) -> Counter[str]:
    """The calls that are durable in a snapshot, which is left as it is."""
    shutil.copytree(snapshot.folder, copy)
    committed = read_committed(job_in(copy, source).folders)
    shutil.rmtree(copy)
    return committed


def select_midway(disk: CrashDisk) -> list[Snapshot]:
    """Snapshots in which a segment's files stand, and the ledger does not know them yet."""
    return [
        snapshot
        for snapshot in disk.snapshots
        if (snapshot.operation, snapshot.path.name, snapshot.moment) == ("sync_folder", "calls", "after")
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_records(tmp_path / "records.jsonl", [*numbered(40), "{corrupt", *numbered(60, 40)])


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return write_records(tmp_path / "short.jsonl", [*numbered(14), "{corrupt", *numbered(18, 14)])


async def test_every_operation_of_a_run(tmp_path: Path, source: Path) -> None:
    """Before, half through and after each durable operation: the same rows in order, no committed call sent again.

    Of the calls sent up to then at most `concurrency` are not committed: those are sent again.
    """
    far = FarSide(script, latency_s=0.001)
    expected = await expect(job_in(tmp_path / "whole", source), far)
    assert (len(expected.rows), len(expected.failed)) == (86, 5)
    watched = tmp_path / "watched"
    watched.mkdir()
    disk = CrashDisk(watched, tmp_path / "snapshots", observe=lambda: Counter(far.billed))
    far.forget()
    await run_job(job_in(watched, source), far, disk)
    assert len(disk.distinct_snapshots) > 100
    for snapshot in disk.distinct_snapshots:
        committed = committed_in(snapshot, source, tmp_path / "copy")
        assert (snapshot.seen - committed).total() <= ONCE.slots, snapshot
        job = job_in(snapshot.folder, source)
        far.forget()
        with telling(snapshot):
            expected.check(await run_job(job, far), job, Counter(far.billed) + committed)


async def test_every_operation_of_a_recovery(tmp_path: Path, short: Path) -> None:
    """A run that dies again while it cleans up after a seal that died."""
    far = FarSide(script, latency_s=0.001)
    expected = await expect(job_in(tmp_path / "whole", short), far)
    watched = tmp_path / "watched"
    watched.mkdir()
    first = CrashDisk(watched, tmp_path / "snapshots")
    await run_job(job_in(watched, short), far, first)
    midway = select_midway(first)
    assert midway
    for number, snapshot in enumerate(midway[:2]):
        disk = CrashDisk(snapshot.folder, tmp_path / f"again-{number}")
        await run_job(job_in(snapshot.folder, short), far, disk)
        assert "remove" in {again.operation for again in disk.snapshots}
        for again in disk.distinct_snapshots[:12]:
            committed = committed_in(again, short, tmp_path / "copy")
            job = job_in(again.folder, short)
            far.forget()
            with telling(again):
                expected.check(await run_job(job, far), job, Counter(far.billed) + committed)


async def test_every_operation_of_a_retry(tmp_path: Path, short: Path) -> None:
    """A retry that died goes on: rows retired, counts moved, each record in the output once."""
    far = FarSide(refuse("review 4.", "review 8.", "review 11.", "review 13."), latency_s=0.001)
    for name in ("whole", "watched"):
        await run_job(job_in(tmp_path / name, short), far)
    before = read_committed(job_in(tmp_path / "watched", short).folders)
    far.script = script
    expected = await expect(job_in(tmp_path / "whole", short), far, retry=True)
    assert len(expected.failed) == 4
    disk = CrashDisk(tmp_path / "watched", tmp_path / "snapshots")
    await run_job(job_in(tmp_path / "watched", short), far, disk, retry=True)
    for snapshot in disk.distinct_snapshots:
        committed = committed_in(snapshot, short, tmp_path / "copy") - before
        job = job_in(snapshot.folder, short)
        far.forget()
        with telling(snapshot):
            expected.check(await run_job(job, far, retry=True), job, Counter(far.billed) + committed)


async def test_every_operation_of_a_fresh_start(tmp_path: Path, short: Path) -> None:
    """`--fresh` that died goes on by itself once it has begun to delete."""
    far = FarSide(script, latency_s=0.001)
    watched = tmp_path / "watched"
    await run_job(job_in(watched, short, "Sort: {{ text }}"), far)
    expected = await expect(job_in(tmp_path / "whole", short), far)
    disk = CrashDisk(watched, tmp_path / "snapshots")
    await run_job(job_in(watched, short), far, disk, fresh=True)
    began = False
    for snapshot in disk.distinct_snapshots:
        committed = committed_in(snapshot, short, tmp_path / "copy")
        job = job_in(snapshot.folder, short)
        far.forget()
        with telling(snapshot):
            began = began or not holds_another_job(job)
            if not began:
                with pytest.raises(StateError, match="belongs to another job"):
                    await run_job(job, far)
            report = await run_job(job, far, fresh=not began)
            expected.check(report, job, Counter(far.billed) + (committed & expected.calls))


async def test_a_budget_holds_over_every_crash(tmp_path: Path, short: Path) -> None:
    """What was sent before the crash and after it stays within the budget, which pays for no call twice over."""
    far = FarSide(latency_s=0.001)
    watched = tmp_path / "watched"
    watched.mkdir()
    disk = CrashDisk(watched, tmp_path / "snapshots", observe=lambda: len(far.billed))
    bounded = job_in(watched, short).model_copy(update={"budget": Budget(calls=25)})
    assert (await run_job(bounded, far, disk)).exit_code == 3
    assert len(far.billed) == 25
    for snapshot in disk.distinct_snapshots:
        far.forget()
        with telling(snapshot):
            report = await run_job(job_in(snapshot.folder, short).model_copy(update={"budget": Budget(calls=25)}), far)
            assert report.exit_code == 3
            assert snapshot.seen + len(far.billed) <= 25


async def test_an_operation_that_ends_the_process(tmp_path: Path, short: Path) -> None:
    """An exit out of any durable operation, in whatever thread, ends the run in good order: nothing waits for ever."""
    far = FarSide(script)
    expected = await expect(job_in(tmp_path / "whole", short), far)
    is_stopped, at = True, 0
    while is_stopped:
        at += 3
        job, disk = job_in(tmp_path / str(at), short), StoppingDisk(at)
        far.forget()
        with contextlib.suppress(Crash):
            async with asyncio.timeout(20):
                await run_job(job, far, disk)
        is_stopped = disk.is_stopped
        calls = read_committed(job.folders)
        far.forget()
        report = await run_job(job, far)
        expected.check(report, job, Counter(far.billed) + calls)
    assert at > 20


def holds_another_job(job: JobSpec) -> bool:
    """Whether a run of another job stands there, and nobody has begun to delete it."""
    with open_ledger(job.folders.ledger, Disk()) as ledger:
        run = ledger.load_meta("run")
        return run is not None and run["fingerprint"] != job.fingerprint and not ledger.load_meta(DELETING)


@contextlib.contextmanager
def telling(snapshot: Snapshot) -> Iterator[None]:
    """Name the crash that an error is about."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"ended {snapshot}")
        raise
