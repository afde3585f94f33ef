"""Runs that are stopped, once, twice or by their caller: in good order, and resumable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from workbench import ONCE, FarSide, check_folders, check_report, ids, labels, numbered, refuse, run_job, write_records

from tidemill.disk import Disk
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.running.control import KNOWN, take_orders
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.job import JobSpec

T = TypeVar("T")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "records.jsonl", numbered(60))
    return tmp_path


class Stopper(FarSide):
    """A far side that stops the runner when the question with a number comes."""

    def __init__(self, at: int, times: int, latency_s: float = 0.0) -> None:
        super().__init__(self.stop, latency_s)
        self.at = at
        self.times = times
        self.runner: Runner | None = None
        self.asked = 0

    def stop(self, question: str) -> None:
        self.asked += 1
        if self.asked == self.at:
            assert self.runner is not None
            self.runner.stop(self.times)

    async def run(self, job: JobSpec, disk: Disk | None = None) -> Any:
        self.runner = Runner(job, disk=disk, transport=self.connect)
        report = await self.runner.run()
        check_report(report)
        return report


async def test_stopped_once(folder: Path) -> None:
    """Calls in flight end and are committed, nothing new starts, what is finished is sealed."""
    job, far = labels(folder), Stopper(at=25, times=1, latency_s=0.01)
    report = await far.run(job)
    assert (report.outcome, report.exit_code) == ("stopped", 130)
    assert far.asked == 25
    assert len(far.billed) == 25
    report = await run_job(job, far)
    assert (report.outcome, len(far.billed)) == ("finished", 60)
    check_folders(job.folders)


async def test_stopped_twice(folder: Path) -> None:
    """At once: calls in flight are cancelled, what is committed stays, nothing is sealed any more."""
    job, far = labels(folder), Stopper(at=25, times=2, latency_s=0.01)
    report = await far.run(job)
    assert (report.outcome, report.exit_code) == ("stopped", 130)
    answered = len(far.billed) - ONCE.slots
    report = await run_job(job, far)
    assert report.outcome == "finished"
    assert report.recalled + report.before >= answered
    assert len(far.billed) <= 60 + ONCE.slots
    check_folders(job.folders)


async def test_the_grace_period_ends(folder: Path) -> None:
    """A call that does not end within it is cancelled; the run ends resumable."""
    job, far = labels(folder, run={"grace_s": 0.0}), Stopper(at=9, times=1, latency_s=0.05)
    report = await far.run(job)
    assert (report.outcome, report.exit_code) == ("stopped", 130)
    report = await run_job(job, far)
    assert report.outcome == "finished"


async def test_stopped_before_it_began(folder: Path) -> None:
    """Nothing is called."""
    far = FarSide()
    runner = Runner(labels(folder), transport=far.connect)
    runner.stop()
    assert (await runner.run()).outcome == "stopped"
    assert far.billed == []


@pytest.mark.parametrize(
    ("text", "stops", "warning"),
    [
        ('{"stop": "gently"}', 1, ""),
        ('{"stop": "now"}', 2, ""),
        ("{}", 0, ""),
        ('{"stop": "soon"}', 0, "`stop` cannot be 'soon'"),
        ('{"stop": ["now"]}', 0, "`stop` cannot be"),
        ('{"stop": "now", "concurrency": 9}', 2, "there is nothing called `concurrency`"),
        ("stop!", 0, "expected a JSON object"),
        ('["stop"]', 0, "expected a JSON object"),
    ],
)
def test_what_is_asked_of_a_run_is_taken_or_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, stops: int, warning: str
) -> None:
    """The file goes whatever it holds; what is not understood is a warning that names what is known."""
    folder = RunFolder(tmp_path, tmp_path)
    folder.control.write_text(text)
    assert (take_orders(folder).stops, folder.control.exists(), take_orders(folder).stops) == (stops, False, 0)
    messages = [record.getMessage() for record in caplog.records]
    assert [warning in message and message.endswith(KNOWN) for message in messages] == ([True] if warning else [])


async def test_cancelled(folder: Path) -> None:
    """A cancelled run seals what is finished, leaves no task behind, and can be gone on with."""
    job, far = labels(folder), FarSide(latency_s=0.002)
    running = asyncio.ensure_future(Runner(job, transport=far.connect).run())
    far.script = lambda question: cancel_at(running, far, 30)
    with pytest.raises(asyncio.CancelledError):
        await running
    far.script = refuse()
    report = await run_job(job, far)
    assert (report.outcome, report.before > 0) == ("finished", True)
    assert len(far.billed) <= 60 + ONCE.slots
    check_folders(job.folders)


def cancel_at(running: asyncio.Future[Any], far: FarSide, number: int) -> None:
    if len(far.billed) == number:
        running.cancel()


class HeldDisk(Disk):
    """A disk on which the first output part is not renamed until `release` is called."""

    def __init__(self, on_reached: Callable[[], object]) -> None:
        self._on_reached = on_reached
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        if operation == "rename" and path.name.startswith("part-") and not self._released.is_set():
            self._on_reached()
            self._released.wait()
        return act()


async def test_stopped_twice_while_sealing(folder: Path) -> None:
    """The seal under way is left where it is: no task stays behind, and the next run cleans up and goes on."""
    job, far, loop = labels(folder), FarSide(), asyncio.get_running_loop()
    disk = HeldDisk(lambda: loop.call_soon_threadsafe(runner.stop, 2))
    runner = Runner(
        job,
        disk=disk,
        transport=far.connect,
        on_status=lambda status: None if status.state == "running" else disk.release(),
    )
    assert (await runner.run()).outcome == "stopped"
    assert asyncio.all_tasks() == {asyncio.current_task()}
    report = await run_job(job, far)
    assert (report.outcome, ids(job)) == ("finished", list(range(60)))
    check_folders(job.folders)
