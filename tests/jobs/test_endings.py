"""How runs end early: sealed, said so, and resumable."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from workbench import (
    FarSide,
    ask,
    check_folders,
    check_report,
    ids,
    label,
    labels,
    make_job,
    make_model,
    numbered,
    read_committed,
    read_failed,
    read_output,
    refuse,
    run_job,
    write_records,
)

from tidemill.calls.limits import Limits
from tidemill.calls.wire import UnreachableError
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.single import Filter, FlatMap, Map
from tidemill.disk import Disk
from tidemill.errors import ConfigError, DataError, ResourceError
from tidemill.jobs.running.inspect import read_status
from tidemill.jobs.running.report import Report, load_report
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import Status
from tidemill.testing import Crash, FullDisk, StoppingDisk, error_response

T = TypeVar("T")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "records.jsonl", numbered(60))
    return tmp_path


# --limit and take


async def test_limit_then_more(folder: Path) -> None:
    """The limit counts over the life of the run; each call is made once."""
    job, far = labels(folder), FarSide()
    for limit, outcome in ((5, "limit"), (25, "limit"), (10, "limit"), (None, "finished")):
        report = await run_job(job, far, limit=limit)
        assert (report.outcome, report.exit_code) == (outcome, 0)
        assert len(far.billed) == report.done == max(limit or 60, report.before)
    assert ids(job) == list(range(60))


async def test_take_bounds_the_calls(folder: Path) -> None:
    """`take(5)`: five are billed."""
    job, far = make_job(folder, [Take(count=5), label()]), FarSide()
    report = await run_job(job, far)
    assert (report.outcome, len(far.billed), ids(job)) == ("finished", 5, [0, 1, 2, 3, 4])
    assert report.steps[0]["in"] == 5


async def test_take_goes_on_where_it_stood(folder: Path) -> None:
    """Over runs and files, behind a filter and a flat_map, the whole is taken once."""
    write_records(folder / "more.jsonl", numbered(90, 60))
    steps = [Filter(fn=is_even), FlatMap(fn=twice), Take(count=70), ask("{{ id }} {{ side }}")]
    job, far = make_job(folder, steps, source=["records.jsonl", "more.jsonl"]), FarSide()
    for limit in (3, 8, 61, 62, None):
        await run_job(job, far, limit=limit)
    landed = [(record["id"], record["side"]) for record in read_output(job.folders)]
    assert landed == [(number, side) for number in range(0, 70, 2) for side in range(2)]
    assert len(far.billed) == 70
    check_folders(job.folders)


def is_even(record: dict[str, Any]) -> bool:
    return bool(record["id"] % 2 == 0)


def twice(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "side": 0}, {**record, "side": 1}]


# the budget


@pytest.mark.parametrize("budget", [{"calls": 20}, {"tokens": 1_200}, {"usd": 0.0003}])
async def test_a_spent_budget_stops_the_run(folder: Path, budget: dict[str, float]) -> None:
    """Exit 3, sealed; a higher one goes on, and no call is made twice."""
    far = FarSide()
    report = await run_job(labels(folder, budget=budget), far)
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert "the budget allows no further call" in report.reason
    assert f"higher budget.{next(iter(budget))}" in report.reason
    assert 0 < len(far.billed) < 60
    assert report.done == len(read_output(labels(folder).folders)) <= len(far.billed)
    again = await run_job(labels(folder, budget=budget), far)
    assert (again.outcome, again.done >= report.done) == ("failed", True)
    report = await run_job(labels(folder, budget={name: most * 100 for name, most in budget.items()}), far)
    assert (report.outcome, len(far.billed)) == ("finished", 60)
    check_folders(labels(folder).folders)


# max_errors


async def test_a_count_of_errors(folder: Path) -> None:
    """More than three failures stop the run; a higher count goes on."""
    far = FarSide(refuse(*(f"review {number}." for number in range(10, 60, 5))))
    report = await run_job(labels(folder, max_errors=3), far)
    assert (report.outcome, report.exit_code) == ("errors", 1)
    assert "max_errors is 3" in report.reason
    assert report.done < 60
    stopped = len(far.billed)
    again = await run_job(labels(folder, max_errors=3), far)
    assert (again.exit_code, len(far.billed)) == (1, stopped)
    report = await run_job(labels(folder, max_errors=10), far)
    assert (report.outcome, report.records["quarantined"], len(far.billed)) == ("finished", 10, 50)


async def test_a_ratio_of_errors_is_judged_at_the_end(folder: Path) -> None:
    """Of few records the ratio is judged when they are all finished."""
    far = FarSide(refuse("review 1.", "review 2.", "review 3.", "review 4."))
    report = await run_job(labels(folder), far)
    assert (report.outcome, report.exit_code, report.done) == ("errors", 1, 60)
    bound, *rest = report.reason.split("; ")
    assert bound == "4 of 60 records failed (6.7%), max_errors is 0.05"
    assert re.match(
        r"the last at `generate`: PermanentCallError: .* answered 400: .*\n  see them: tidemill show", rest[0]
    )
    assert (await run_job(labels(folder, max_errors=0.07), far)).exit_code == 0


async def test_a_ratio_of_errors_is_judged_from_the_200th(tmp_path: Path) -> None:
    """A long run with too many failures does not go on to its end."""
    write_records(tmp_path / "records.jsonl", numbered(2_000))
    far = FarSide(refuse("0.", "5."))
    report = await run_job(labels(tmp_path), far)
    assert (report.outcome, report.exit_code) == ("errors", 1)
    assert 200 <= report.done < 400


async def test_a_hundred_in_a_row(tmp_path: Path) -> None:
    """Whatever `max_errors` allows, nothing is burnt on a run in which all fails."""
    write_records(tmp_path / "records.jsonl", numbered(400))
    far = FarSide(refuse("review"))
    report = await run_job(labels(tmp_path, max_errors=0.99), far)
    bound, cause, *_ = report.reason.split("; ")
    assert (report.outcome, bound) == ("errors", "100 records in a row failed")
    assert "answered 400" in cause
    sealed = report.records["quarantined"]
    numbers = (
        f"; of 100 that failed {sealed} are quarantined, and {100 - sealed} not sealed yet are tried again when the"
    )
    assert (numbers in report.reason) is (sealed < 100)
    assert f"\n  see them: tidemill show {report.output} --failures; again: tidemill retry" in report.reason
    assert len(far.transports[0].requests) < 200


async def test_children_count_each_in_a_resumed_run_as_in_a_whole_one(tmp_path: Path) -> None:
    """The verdict on errors does not depend on where a run was interrupted."""
    write_records(tmp_path / "records.jsonl", numbered(60))
    bad = refuse("7. 0", "7. 1", "8. 0")
    steps = [label(), FlatMap(fn=twice), ask("Note {{ text }} {{ side }}")]
    for max_errors, code in ((0.14, 1), (0.16, 0)):
        whole = make_job(tmp_path, steps, max_errors=max_errors, sink={"path": f"whole-{code}"})
        parts = make_job(tmp_path, steps, max_errors=max_errors, sink={"path": f"parts-{code}"})
        far = FarSide(bad)
        assert (await run_job(whole, far)).exit_code == code
        for limit in (8, 20, 33):
            await run_job(parts, far, limit=limit)
        report = await run_job(parts, far)
        assert (report.exit_code, report.done) == (code, 60)


# on_error


def judge(record: dict[str, Any]) -> dict[str, Any]:
    if record["id"] == 33:
        raise ValueError("33 is no number")
    return record


@pytest.mark.parametrize("on_error", ["quarantine", "skip"])
@pytest.mark.parametrize("place", ["before", "after"])
async def test_a_failure_gets_what_its_step_says(folder: Path, on_error: Any, place: str) -> None:
    """Both are committed outcomes, kept and counted; only quarantined ones count as errors."""
    step = Map(fn=judge, on_error=on_error)
    job = make_job(folder, [step, label()] if place == "before" else [label(), step], max_errors=0)
    report = await run_job(job, FarSide())
    outcome = {"quarantine": "quarantined", "skip": "skipped"}[on_error]
    assert (report.records["landed"], report.records[outcome]) == (59, 1)
    assert report.exit_code == (on_error == "quarantine")
    (row,) = read_failed(job.folders)
    assert (row.ordinal, row.name, row.outcome, row.error["message"]) == (33, "map", outcome, "33 is no number")


@pytest.mark.parametrize("place", ["before", "after"])
async def test_raise_stops_the_run_at_that_record(folder: Path, place: str) -> None:
    """Exit 1; what came before it is sealed, and it is tried again by the next run."""
    step = Map(fn=judge, on_error="raise")
    job, far = make_job(folder, [step, label()] if place == "before" else [label(), step]), FarSide()
    for _ in range(2):
        report = await run_job(job, far)
        assert (report.outcome, report.exit_code, report.reason) == ("raised", 1, "ValueError: 33 is no number")
        assert ids(job) == list(range(len(ids(job))))
        assert len(ids(job)) <= 33
    assert len(far.billed) == len(set(far.billed))


async def test_a_generate_step_may_skip_or_raise(folder: Path) -> None:
    """A refused call follows the step's `on_error`."""
    far = FarSide(refuse("review 7."))
    report = await run_job(make_job(folder, [label(on_error="skip")]), far)
    assert (report.records["skipped"], report.exit_code) == (1, 0)
    report = await run_job(make_job(folder, [label(on_error="raise")], sink={"path": "other"}), far)
    assert (report.outcome, report.exit_code) == ("raised", 1)
    assert "answered 400" in report.reason


@pytest.mark.parametrize(("on_error", "code"), [("quarantine", 0), ("skip", 0), ("raise", 1)])
async def test_a_corrupt_line(tmp_path: Path, on_error: str, code: int) -> None:
    """The others land; the line is kept with its place and bytes."""
    write_records(tmp_path / "records.jsonl", [*numbered(30), "{corrupt", *numbered(60, 30)])
    job = labels(tmp_path, read={"on_error": on_error})
    report = await run_job(job, FarSide())
    assert report.exit_code == code
    if on_error == "raise":
        assert (report.outcome, "not JSON at column 2" in report.reason) == ("raised", True)
        return
    assert ids(job) == list(range(60))
    (row,) = read_failed(job.folders)
    assert (row.ordinal, row.raw, row.outcome[:4]) == (30, b"{corrupt", on_error[:4])
    assert row.error["where"].endswith("records.jsonl, byte 970")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def fail_oddly(record: dict[str, Any]) -> Any:
    match record["id"]:
        case 1:
            raise UnprintableError
        case 2:
            raise ValueError("lone surrogate \udc80")
        case 3:
            raise StopIteration
        case 4:
            raise KeyError
        case 5:
            raise ExceptionGroup("two", [ValueError("a"), DataError("b")])
    return record


@pytest.mark.parametrize("place", ["before", "after"])
async def test_whatever_a_function_raises_is_kept(folder: Path, place: str) -> None:
    """No error of a record, however odd, ends the run."""
    step = Map(fn=fail_oddly)
    job = make_job(folder, [step, ask()] if place == "before" else [ask(), step], max_errors=10)
    report = await run_job(job, FarSide())
    assert (report.outcome, report.records["quarantined"]) == ("finished", 5)
    assert [row.ordinal for row in read_failed(job.folders)] == [1, 2, 3, 4, 5]


# failures of the run


async def test_an_endpoint_never_reached(folder: Path) -> None:
    """Exit 3 once `connect_s` is over, nothing quarantined, nothing finished lost."""
    far = FarSide(lambda question: UnreachableError("connection refused"))
    model = make_model(limits=Limits(concurrency=8, connect_s=0.05))
    report = await run_job(make_job(folder, [label(model=model)]), far)
    assert (report.outcome, report.exit_code, report.records["quarantined"]) == ("failed", 3, 0)
    assert "for 0.05 s (connection refused)" in report.reason
    far.script = refuse()
    report = await run_job(labels(folder), far)
    assert (report.outcome, report.records["landed"]) == ("finished", 60)


@pytest.mark.parametrize(
    ("status", "message"), [(401, "bad key"), (403, "no"), (404, "The model `any` does not exist")]
)
async def test_what_every_call_would_fail_with(folder: Path, status: int, message: str) -> None:
    """401, 403, an unknown model: one round of calls, exit 3, nothing quarantined, sealed up to there."""
    far = FarSide(lambda question: error_response(status, message) if "review 2" in question else None)
    report = await run_job(labels(folder), far)
    assert (report.outcome, report.exit_code, report.records["quarantined"]) == ("failed", 3, 0)
    assert f"answered {status}" in report.reason
    assert sum(len(transport.requests) for transport in far.transports) < 40
    far.script = refuse()
    assert (await run_job(labels(folder), far)).records["landed"] == 60
    assert len(far.billed) == 60


# the disk


@pytest.mark.parametrize("budget", [None, {"calls": 1_000}])
async def test_a_full_disk(folder: Path, budget: Any) -> None:
    """However many operations had room, also to open the run: a clear error, exit 3, resumable; no call twice."""
    far, room, outcome = FarSide(), 0, ""
    job = labels(folder, budget=budget)
    while outcome != "finished":
        before = read_committed(job.folders)
        far.forget()
        runner = Runner(job, disk=FullDisk(room), transport=far.connect)
        try:
            report = await runner.run()
        except ResourceError as error:
            assert far.billed == []
            told = str(error)
        else:
            check_report(report)
            outcome = report.outcome
            told = report.reason
            assert (outcome, report.exit_code) in (("failed", 3), ("finished", 0))
        assert outcome == "finished" or "disk is full" in told or "No space left" in told
        assert outcome == "finished" or "make room on the disk (or mend it) and run again" in told
        assert before & Counter(far.billed) == Counter()
        room += 5
    assert ids(job) == list(range(60))
    check_folders(job.folders)


class ForbiddenDisk(Disk):
    """A disk on which no folder may be made."""

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        if operation == "make_folder":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return act()


async def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    """The author's to mend: the folder is named, and nothing was written or called."""
    far = FarSide()
    with pytest.raises(ConfigError, match=r"out: the folder cannot be made: Permission denied\n  name another one"):
        await run_job(labels(folder), far, ForbiddenDisk())
    assert (far.transports, os.listdir(folder)) == ([], ["records.jsonl"])


async def test_a_full_disk_says_what_to_do(folder: Path) -> None:
    """While sealing or committing: in the user's words, with the next step."""
    report = await run_job(labels(folder), FarSide(), FullDisk(12))
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert "the run cannot be written" in report.reason
    assert "make room on the disk (or mend it) and run again: everything committed is kept" in report.reason


async def test_a_full_disk_keeps_the_last_report(folder: Path) -> None:
    """A report that cannot be written leaves the one before whole."""
    job = labels(folder)
    await run_job(job, FarSide(), limit=5)
    before = load_report(job.folders)
    report = await run_job(job, FarSide(), FullDisk(6))
    assert report.outcome == "failed"
    assert load_report(job.folders) == before


@pytest.mark.parametrize("has_room_for_status", [True, False])
async def test_without_room_for_a_report_the_status_tells(folder: Path, has_room_for_status: bool) -> None:
    """How the sitting ended and why, also where no new file can be made; the next report takes its place."""
    job, far = labels(folder), FarSide()
    await run_job(job, far, limit=5)

    def block(status: Status) -> None:
        if not has_room_for_status:
            job.folders.status.with_suffix(".tmp").mkdir(exist_ok=True)

    await Runner(job, disk=FullDisk(6), transport=far.connect, on_status=block).run()
    status = read_status(job.folders)
    assert isinstance(status, dict)
    assert (status["state"], "the run cannot be written" in status["reason"]) == ("failed", True)
    if not has_room_for_status:
        job.folders.status.with_suffix(".tmp").rmdir()
    await run_job(job, far)
    assert isinstance(read_status(job.folders), Report)
    check_folders(job.folders)


# a user's exits


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("late", [False, True])
async def test_a_function_that_ends_the_process_fails_its_record(
    folder: Path, error: BaseException, late: bool
) -> None:
    """In both halves, in plain functions: a WorkerError of the record, and the run goes on."""

    def leave(record: dict[str, Any]) -> dict[str, Any]:
        if record["id"] == 2:
            raise error
        return record

    steps = [ask(), Map(fn=leave)] if late else [Map(fn=leave), ask()]
    job = make_job(folder, steps)
    report = await run_job(job, FarSide())
    assert (report.outcome, report.records["landed"]) == ("finished", 59)
    (row,) = read_failed(job.folders)
    assert row.error["type"] == "WorkerError"
    assert f"the function raised {type(error).__name__}" in row.error["message"]


async def test_nothing_to_do_keeps_the_report(folder: Path) -> None:
    """A finished run that is run again says so; its report stays the one of the sitting that did the work."""
    job, far = labels(folder), FarSide()
    await run_job(job, far)
    before = load_report(job.folders)
    report = await run_job(job, far)
    assert (report.outcome, report.exit_code, report.reason) == ("finished", 0, "already finished, nothing to do")
    assert report.calls["calls"] == 60
    assert load_report(job.folders) == before


async def test_recalled_records_are_not_this_sittings(folder: Path) -> None:
    """What was committed before a crash is done before: neither the count nor the rate takes it for new."""
    seen: list[Status] = []
    job, far = make_job(folder, [label()], sink={"segment": {"records": 1_000}}), FarSide()
    with pytest.raises(Crash):
        await run_job(job, far, StoppingDisk(20))
    committed = sum(read_committed(job.folders).values())
    assert 0 < committed < 60
    report = await Runner(job, transport=far.connect, on_status=seen.append).run()
    assert (report.before, report.recalled, report.done) == (committed, committed, 60)
    assert (seen[-1].done - seen[-1].before) == 60 - committed
