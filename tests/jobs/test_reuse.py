"""`--reuse`: a new run that pays only for what changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from workbench import (
    FarSide,
    ask,
    check_folders,
    label,
    make_job,
    numbered,
    read_output,
    refuse,
    run_job,
    write_records,
)

from tidemill.calls.wire import Response
from tidemill.data.nodes.single import Filter, Map
from tidemill.disk import Disk
from tidemill.errors import StateError
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.spec.job import JobSpec
from tidemill.testing import chat_response


def two_steps(folder: Path, second: str = "Note on {{ text }}: {{ label.topic }}", path: str = "out") -> JobSpec:
    return make_job(folder, [label(), ask(second)], sink={"path": path}, max_errors=100)


def new(folder: Path) -> JobSpec:
    """The same job with another second prompt, into another folder."""
    return two_steps(folder, "Remark on {{ text }}: {{ label.topic }}", "new")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "records.jsonl", numbered(45))
    return tmp_path


async def test_another_second_prompt_bills_the_second_step_only(folder: Path) -> None:
    """The first step's replies come from the old run's archives; the output is what a whole new run gives."""
    far = FarSide()
    await run_job(two_steps(folder), far)
    far.forget()
    report = await run_job(new(folder), far, reuse=str(folder / "out"))
    assert (report.reused, len(far.billed)) == (45, 45)
    assert all(question.startswith("Remark") for question in far.questions)
    rows = read_output(new(folder).folders)
    await run_job(new(folder), far, fresh=True)
    assert read_output(new(folder).folders) == rows
    check_folders(new(folder).folders)


async def test_reuse_is_needed_once(folder: Path) -> None:
    """A run that began with it goes on with it."""
    far = FarSide()
    await run_job(two_steps(folder), far)
    far.forget()
    await run_job(new(folder), far, reuse=str(folder / "out"), limit=10)
    report = await run_job(new(folder), far)
    assert (report.reused, report.before, len(far.billed)) == (35, 10, 45)


async def test_a_run_that_reuses_is_as_durable_as_any(folder: Path) -> None:
    """What it took over is archived with it: a third run reuses the second, when the first is gone."""
    far = FarSide()
    await run_job(two_steps(folder), far)
    await run_job(new(folder), far, reuse=str(folder / "out"))
    shutil.rmtree(folder / "out")
    far.forget()
    third = two_steps(folder, "Essay on {{ text }}: {{ label.topic }}", "third")
    report = await run_job(third, far, reuse=str(folder / "new" / ".run"))
    assert (report.reused, len(far.billed)) == (45, 45)


async def test_failed_outcomes_are_tried_anew(folder: Path) -> None:
    """Also those whose reply was committed and did not fit; what a retry mended is used."""

    def misfit(question: str) -> Response | Exception | None:
        return (
            chat_response("no label") if question == "Label: review 5." else refuse("review 7.", "review 9.")(question)
        )

    far = FarSide(misfit)
    old = make_job(folder, [label(max_reasks=0)], max_errors=100)
    assert (await run_job(old, far)).records["quarantined"] == 3
    far.script = refuse("review 5.", "review 7.")
    assert (await run_job(old, far, retry=True)).records["quarantined"] == 2
    far.script = refuse()
    far.forget()
    report = await run_job(
        make_job(folder, [label(max_reasks=0)], sink={"path": "new"}), far, reuse=str(folder / "out")
    )
    assert sorted(far.questions) == ["Label: review 5.", "Label: review 7."]
    assert (report.reused, report.records["quarantined"]) == (43, 0)


async def test_what_is_not_sealed_is_reused_too(folder: Path) -> None:
    """An old run that was stopped holds committed replies in its ledger."""
    far = FarSide()
    stopped = make_job(folder, two_steps(folder).steps, max_errors=100, budget={"calls": 31})
    assert (await run_job(stopped, far)).outcome == "failed"
    with open_ledger(stopped.folders.ledger, Disk()) as ledger:
        assert list(ledger.iter_frames())
    far.forget()
    report = await run_job(new(folder), far, reuse=str(folder / "out"))
    assert report.reused > 0
    assert len(far.billed) + report.reused == 90
    assert sum(question.startswith("Label") for question in far.questions) + report.reused == 45


def is_even(record: dict[str, Any]) -> bool:
    return bool(record["id"] % 2 == 0)


async def test_an_edit_that_shifts_identities_pays(folder: Path) -> None:
    """A reply is used at the same identity only: nothing is attached to the wrong record."""
    far = FarSide()
    await run_job(make_job(folder, [label()]), far)
    far.forget()
    job = make_job(folder, [Filter(fn=is_even), label()], sink={"path": "new"})
    report = await run_job(job, far, reuse=str(folder / "out"))
    assert (report.reused, len(far.billed)) == (1, 22)
    assert [row["id"] for row in read_output(job.folders)] == list(range(0, 45, 2))


async def test_what_reuse_refuses(folder: Path) -> None:
    """Itself, nothing, a run that has begun without it."""
    far = FarSide()
    await run_job(two_steps(folder), far, limit=10)
    with pytest.raises(StateError, match="a run cannot reuse itself"):
        await run_job(two_steps(folder), far, reuse=str(folder / "out"))
    with pytest.raises(StateError, match="expected a run"):
        await run_job(new(folder), far, reuse=str(folder / "nothing"))
    await run_job(new(folder), far, limit=10)
    with pytest.raises(StateError, match="--reuse is for a new run"):
        await run_job(new(folder), far, reuse=str(folder / "out"))


async def test_the_old_run_is_gone_before_the_new_one_is_done(folder: Path) -> None:
    """Nothing is paid twice in silence: the new run says what it misses."""
    far = FarSide()
    await run_job(two_steps(folder), far)
    await run_job(new(folder), far, reuse=str(folder / "out"), limit=10)
    shutil.move(folder / "out", folder / "moved")
    far.forget()
    with pytest.raises(StateError, match="the run whose replies this one reuses is gone"):
        await run_job(new(folder), far)
    assert far.billed == []
    await run_job(new(folder), far, reuse=str(folder / "moved"), limit=20)
    await run_job(new(folder), far)
    assert len(far.billed) == 35


async def test_the_old_run_may_go_once_the_source_was_read(tmp_path: Path) -> None:
    """Also when the same command names it again."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    far = FarSide()
    await run_job(make_job(tmp_path, [label()]), far)
    job = make_job(tmp_path, [label()], sink={"path": "new"})
    await run_job(job, far, reuse=str(tmp_path / "out"))
    shutil.rmtree(tmp_path / "out")
    for request in ({}, {"reuse": str(tmp_path / "out")}, {"retry": True}):
        assert (await run_job(job, far, **request)).outcome == "finished"
    assert len(far.billed) == 20


async def test_a_mistyped_old_run_is_told_at_any_time(tmp_path: Path) -> None:
    """Also when this run has read its source once, and the source grew: what was asked for is never passed over."""
    source = write_records(tmp_path / "records.jsonl", numbered(20))
    far = FarSide()
    await run_job(make_job(tmp_path, [label()]), far)
    job = make_job(tmp_path, [label()], sink={"path": "new"})
    await run_job(job, far, reuse=str(tmp_path / "out"))
    write_records(source, numbered(30, 20), append=True)
    far.forget()
    with pytest.raises(StateError, match="no-such-typo: expected a run"):
        await run_job(job, far, reuse=str(tmp_path / "no-such-typo"))
    assert far.billed == []


async def test_going_on_without_an_old_run_that_is_gone(tmp_path: Path) -> None:
    """The way is told, and taken: what is left is paid for."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    far = FarSide()
    await run_job(make_job(tmp_path, [label()]), far)
    job = make_job(tmp_path, [label()], sink={"path": "new"})
    await run_job(job, far, reuse=str(tmp_path / "out"), limit=10)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(StateError, match="is gone") as refused:
        await run_job(job, far)
    assert "--reuse none" in str(refused.value)
    report = await run_job(job, far, reuse="none")
    assert (report.outcome, report.done, len(far.billed)) == ("finished", 20, 30)


async def test_a_retry_does_not_recall_what_failed(tmp_path: Path) -> None:
    """The reply that led to the failure stands in the old run: it is not given again."""
    write_records(tmp_path / "records.jsonl", numbered(4))
    far = FarSide()
    await run_job(make_job(tmp_path, [ask()]), far)
    job = make_job(tmp_path, [ask(), Map(fn=fail_two)], sink={"path": "new"}, max_errors=9)
    await run_job(job, far, reuse=str(tmp_path / "out"))
    report = await run_job(job, far, retry=True)
    assert (report.reused, len(far.billed)) == (0, 4)


def fail_two(record: dict[str, Any]) -> dict[str, Any]:
    if record["id"] == 2:
        raise ValueError("two")
    return record
