"""A budget's deadline, and a budget that comes to a run which began without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, Reply, check_folders, labels, numbered, read_output, run_job, write_records

from tidemill.errors import ConfigError
from tidemill.jobs.running.runner import Runner
from tidemill.testing import STALL, run_virtual


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "records.jsonl", numbered(60))
    return tmp_path


def stall_from(number: int) -> Any:
    """A script that answers the first questions, and none from a number on."""
    asked: list[str] = []

    def script(question: str) -> Reply | None:
        asked.append(question)
        return STALL if len(asked) > number else None  # type: ignore[return-value]  # the transport knows it

    return script


def test_a_deadline_stops_the_run_sealed_and_resumable(folder: Path) -> None:
    """Exit 3, what is finished is sealed; the next sitting has as much time again."""
    job = labels(folder, budget={"deadline": "90s"}, run={"grace_s": 0.0})
    notes: list[str] = []
    far = FarSide(stall_from(25))
    report = run_virtual(Runner(job, transport=far.connect, on_note=notes.append).run())
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert report.reason == (
        "the budget's deadline has passed, 1m 30s from the start of this sitting\n"
        "  what is finished is kept; run it again and it goes on, with as much time again"
    )
    assert notes == ["the budget's deadline of 1m 30s has passed: calls in flight get 0 s"]
    assert 0 < len(read_output(job.folders)) == report.done <= 25
    far.script = lambda question: None
    report = run_virtual(run_job(labels(folder, budget={"deadline": "2h"}), far))
    assert (report.outcome, report.exit_code, len(far.billed)) == ("finished", 0, 60)
    check_folders(job.folders)


def test_calls_in_flight_at_the_deadline_get_the_grace_period(folder: Path) -> None:
    """What they bring is kept and not paid again; nothing new was started."""
    job = labels(folder, budget={"deadline": 20}, run={"grace_s": 30.0})
    report = run_virtual(run_job(job, far := FarSide(latency_s=30.0)))
    assert (report.outcome, report.exit_code, len(far.billed)) == ("failed", 3, 8)
    report = run_virtual(run_job(labels(folder), far))
    assert (report.outcome, len(far.billed)) == ("finished", 60)


async def test_a_deadline_that_passed_before_the_first_call(folder: Path) -> None:
    """Nothing is called; a run that was stopped by hand meanwhile says that."""
    job, far = labels(folder, budget={"deadline": 1e-9}), FarSide()
    assert (await run_job(job, far)).exit_code == 3
    assert far.billed == []
    runner = Runner(job, transport=far.connect)
    runner.stop()
    assert (await runner.run()).outcome == "stopped"


async def test_a_deadline_that_was_not_reached_says_nothing(folder: Path) -> None:
    """A deadline alone bounds no spending, and a run that ends before it has finished."""
    report = await run_job(labels(folder, budget={"deadline": 3_600}), far := FarSide())
    assert (report.outcome, report.reason, len(far.billed)) == ("finished", "", 60)


def test_a_budget_bounds_something(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at least one of usd, tokens, calls and deadline"):
        labels(folder, budget={})


@pytest.mark.parametrize("measure", ["calls", "tokens", "usd"])
async def test_what_was_spent_without_a_budget_counts_once_there_is_one(folder: Path, measure: str) -> None:
    """A budget is held over the life of the run, also over sittings that had none."""
    far = FarSide()
    first = await run_job(labels(folder), far, limit=40)
    spent = {"calls": 40, "tokens": first.calls["input_tokens"] + first.calls["output_tokens"]}
    most = {**spent, "usd": first.calls["usd"]}[measure]
    report = await run_job(labels(folder, budget={measure: most}), far)
    assert (report.outcome, report.exit_code, len(far.billed)) == ("failed", 3, 40)
    report = await run_job(labels(folder, budget={measure: most * 100}), far)
    assert (report.outcome, len(far.billed)) == ("finished", 60)
