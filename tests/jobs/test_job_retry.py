"""`retry`: the quarantined and skipped records are tried again, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from workbench import (
    FarSide,
    ask,
    check_folders,
    ids,
    label,
    load_manifest,
    make_job,
    numbered,
    read_failed,
    read_output,
    refuse,
    run_job,
    write_records,
)

from tidemill.calls.wire import Response
from tidemill.data.nodes.across import Shuffle
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, FlatMap, Map
from tidemill.errors import StateError
from tidemill.jobs.ledger.rows import FailedRow
from tidemill.jobs.running.inspect import read_failures
from tidemill.jobs.spec.job import JobSpec
from tidemill.testing import chat_response


def two_steps(folder: Path, **fields: Any) -> JobSpec:
    """A label, then a note about it."""
    return make_job(folder, [label(), ask("Note on {{ text }}: {{ label.topic }}")], max_errors=100, **fields)


async def test_only_the_quarantined_are_billed(tmp_path: Path) -> None:
    """They land behind what is sealed, the counts move, and their old rows are retired."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    job, far = two_steps(tmp_path), FarSide(refuse("review 3.", "review 14.", "review 25."))
    first = await run_job(job, far)
    assert first.records == {"landed": 27, "dropped": 0, "skipped": 0, "quarantined": 3}
    far.script = refuse("review 14.")
    far.forget()
    report = await run_job(job, far, retry=True)
    assert report.records == {"landed": 29, "dropped": 0, "skipped": 0, "quarantined": 1}
    assert len(far.billed) == 4
    assert ids(job) == [*(number for number in range(30) if number not in (3, 14, 25)), 3, 25]
    assert [row.ordinal for row in read_failed(job.folders)] == [14]
    assert sum(part["rows"] - part["retired"] for part in load_manifest(job.folders)["quarantine"]) == 1
    assert (report.done, report.before) == (30, 30)
    check_folders(job.folders)


async def test_replies_of_earlier_steps_are_used(tmp_path: Path) -> None:
    """A record that failed at its second call goes on there; the failed step's calls are sent anew."""
    write_records(tmp_path / "records.jsonl", numbered(12))
    job, far = two_steps(tmp_path), FarSide(refuse("Note on review 5."))
    await run_job(job, far)
    far.script = refuse()
    far.forget()
    await run_job(job, far, retry=True)
    assert [question.partition(":")[0] for question in far.questions] == ["Note on review 5."]


async def test_a_reply_that_never_fitted_is_asked_for_anew(tmp_path: Path) -> None:
    """Committed replies of the failed step are not used again."""
    write_records(tmp_path / "records.jsonl", numbered(12))

    def misfit(question: str) -> Response | None:
        return chat_response("no label") if "review 5." in question or "Answer again" in question else None

    job, far = make_job(tmp_path, [label(max_reasks=1)], max_errors=3), FarSide(misfit)
    first = await run_job(job, far)
    assert first.records["quarantined"] == 1
    far.script = refuse()
    far.forget()
    report = await run_job(job, far, retry=True)
    assert (report.records["landed"], far.questions) == (12, ["Label: review 5."])


async def test_a_run_stopped_by_its_errors_can_be_retried(tmp_path: Path) -> None:
    """More failures than `max_errors` end a run, and do not keep `retry` from mending it."""
    write_records(tmp_path / "records.jsonl", numbered(300))
    bad = [f"review {number}." for number in range(0, 300, 4)]
    job, far = make_job(tmp_path, [label()]), FarSide(refuse(*bad))
    first = await run_job(job, far)
    assert (first.outcome, first.exit_code) == ("errors", 1)
    far.script = refuse()
    far.forget()
    report = await run_job(job, far, retry=True)
    assert (report.outcome, report.records["quarantined"]) == ("finished", 0)
    assert len(far.billed) == first.records["quarantined"]
    await run_job(job, far)
    assert sorted(ids(job)) == list(range(300))


async def test_a_retry_that_mends_too_little_still_says_so(tmp_path: Path) -> None:
    """What is left decides the exit code."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    job, far = make_job(tmp_path, [label()]), FarSide(refuse("review 1.", "review 2.", "review 3."))
    assert (await run_job(job, far)).exit_code == 1
    far.script = refuse("review 2.", "review 3.")
    assert (await run_job(job, far, retry=True)).exit_code == 1
    far.script = refuse("review 3.")
    assert (await run_job(job, far, retry=True)).exit_code == 0


async def test_a_retry_goes_through_all_whatever_fails_again(tmp_path: Path) -> None:
    """A hundred in a row that fail again do not keep the others from being tried."""
    write_records(tmp_path / "records.jsonl", numbered(150))
    job, far = make_job(tmp_path, [label()], max_errors=1_000), FarSide(refuse("review"))
    assert "100 records in a row failed" in (await run_job(job, far)).reason
    assert (await run_job(job, far)).records["quarantined"] == 150
    far.script = refuse(*(f"review {number}." for number in range(120)))
    report = await run_job(job, far, retry=True)
    assert (report.outcome, report.records["landed"], len(far.billed)) == ("finished", 30, 30)


async def test_rows_quarantined_after_a_retry_are_retried_with_the_rest(tmp_path: Path) -> None:
    """Each `retry` takes up everything that stands when it begins, of whichever pass."""
    source = write_records(tmp_path / "records.jsonl", numbered(20))
    job, far = make_job(tmp_path, [label()], max_errors=100), FarSide(refuse("review 3.", "review 23."))
    await run_job(job, far)
    await run_job(job, far, retry=True)
    write_records(source, numbered(40, 20), append=True)
    await run_job(job, far)
    assert [row.ordinal for row in read_failed(job.folders)] == [3, 23]
    far.script = refuse()
    far.forget()
    report = await run_job(job, far, retry=True)
    assert (len(far.billed), report.records["quarantined"], read_failed(job.folders)) == (2, 0, [])
    assert sorted(ids(job)) == list(range(40))


@pytest.mark.parametrize("steps", [[], [Shuffle(seed=1, buffer=4)]])
async def test_a_retry_goes_by_what_was_kept_whatever_became_of_the_source(tmp_path: Path, steps: list[Node]) -> None:
    """Files that were mended or taken away hold nothing up that is not read from them; reading on is refused."""
    for name, start in (("a", 0), ("b", 10)):
        write_records(tmp_path / "in" / f"{name}.jsonl", [*numbered(start + 10, start), "{corrupt"])
    job = make_job(tmp_path, [*steps, label()], source="in/*.jsonl", max_errors=100)
    far = FarSide(refuse("review 3.", "review 13."))
    await run_job(job, far)
    write_records(tmp_path / "in" / "a.jsonl", numbered(9))
    (tmp_path / "in" / "b.jsonl").unlink()
    far.script = refuse()
    far.forget()
    report = await run_job(job, far, retry=True)
    assert (len(far.billed), report.records["landed"], report.records["quarantined"]) == (2, 20, 2)
    assert sorted(ids(job)) == list(range(20))
    with pytest.raises(StateError, match=r"a\.jsonl: edited before the point it was read to\n    b\.jsonl: gone"):
        await run_job(job, far)


async def test_a_retry_reads_no_other_version_of_an_output(tmp_path: Path) -> None:
    """What landed is of the version that was read, also where the output has grown since."""
    write_records(tmp_path / "records.jsonl", numbered(10))
    first = make_job(tmp_path, [label()], sink={"path": "first"})
    await run_job(first, FarSide())
    far = FarSide(refuse("review 3."))
    second = make_job(tmp_path, [ask(into="note")], source="first", max_errors=100)
    await run_job(second, far)
    before = load_manifest(second.folders)["parents"]
    write_records(tmp_path / "records.jsonl", numbered(20, 10), append=True)
    await run_job(first, FarSide())
    far.script = refuse()
    assert (await run_job(second, far, retry=True)).records["landed"] == 10
    assert load_manifest(second.folders)["parents"] == before
    await run_job(second, far)
    assert load_manifest(second.folders)["parents"] != before


async def test_a_retry_with_nothing_to_do(tmp_path: Path) -> None:
    """No call, nothing moves."""
    write_records(tmp_path / "records.jsonl", numbered(12))
    job, far = make_job(tmp_path, [label()]), FarSide()
    first = await run_job(job, far)
    report = await run_job(job, far, retry=True)
    assert (report.outcome, report.records, report.done) == ("finished", first.records, 12)


async def test_a_retry_stopped_by_its_limit_of_calls_goes_on(tmp_path: Path) -> None:
    """What a first retry mended is sealed; the next one takes up the rest only."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    job, far = make_job(tmp_path, [label()], max_errors=100), FarSide(refuse("review"))
    await run_job(job, far)
    far.script = refuse()
    far.forget()
    bounded = make_job(tmp_path, [label()], max_errors=100, budget={"calls": 30 + 12})
    report = await run_job(bounded, far, retry=True)
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert len(far.billed) == 12
    report = await run_job(job, far, retry=True)
    assert (report.outcome, report.records["landed"], len(far.billed)) == ("finished", 30, 30)
    assert ids(job) == list(range(30))
    check_folders(job.folders)


class Switch:
    """Functions that fail while they are switched off, as a service they call would."""

    works = False


def is_judged(record: dict[str, Any]) -> bool:
    if not Switch.works and record["id"] in (4, 5):
        raise ValueError("no judgement")
    return bool(record["id"] != 5)


def split(record: dict[str, Any]) -> Any:
    for part in range(3):
        if not Switch.works and record["id"] == 2 and part == 1:
            raise ValueError("no more parts")
        yield {**record, "part": part}


@pytest.fixture
def switched_off() -> Any:
    Switch.works = False
    yield
    Switch.works = False


@pytest.mark.usefixtures("switched_off")
@pytest.mark.parametrize("is_in_source_half", [True, False])
async def test_a_record_goes_on_at_the_step_that_failed(tmp_path: Path, is_in_source_half: bool) -> None:
    """In either half: a filter that drops it after all, and the children a `flat_map` had not given yet."""
    write_records(tmp_path / "records.jsonl", numbered(8))
    functions = [Filter(fn=is_judged), FlatMap(fn=split)]
    steps = [*functions, ask()] if is_in_source_half else [ask(), *functions]
    job, far = make_job(tmp_path, steps, max_errors=100), FarSide()
    first = await run_job(job, far)
    assert first.records["quarantined"] == 3
    Switch.works = True
    far.forget()
    report = await run_job(job, far, retry=True)
    assert (report.records["quarantined"], report.records["dropped"]) == (0, 1)
    landed = [(record["id"], record["part"]) for record in read_output(job.folders)]
    assert sorted(landed) == [(number, part) for number in (0, 1, 2, 3, 4, 6, 7) for part in range(3)]
    assert len(far.billed) == (5 if is_in_source_half else 0)
    check_folders(job.folders)


async def test_a_corrupt_line_is_read_again_from_what_was_kept(tmp_path: Path) -> None:
    """It stays what it was: the source's bytes are sealed with it."""
    write_records(tmp_path / "records.jsonl", [*numbered(5), "{corrupt", *numbered(9, 5)])
    job, far = make_job(tmp_path, [ask()], max_errors=3), FarSide()
    await run_job(job, far)
    report = await run_job(job, far, retry=True)
    assert (report.records["landed"], report.records["quarantined"]) == (9, 1)
    assert [row.raw for row in read_failed(job.folders)] == [b"{corrupt"]


ODD = {
    "image": b"\xff\xd8",
    "tags": {1, 2},
    "place": (1, 2.5),
    "at": datetime(2026, 1, 2, tzinfo=UTC),
    "count": 1 << 80,
    "of": {"$": 1},
}


def with_odd_values(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, **ODD}


def check_odd_values(record: dict[str, Any]) -> dict[str, Any]:
    assert {name: (type(record[name]), record.pop(name)) for name in ODD} == {
        name: (type(value), value) for name, value in ODD.items()
    }
    return record


async def test_a_record_with_values_that_json_lacks_is_retried_as_it_was(tmp_path: Path) -> None:
    """Bytes, sets, tuples, times and large numbers come back from quarantine, and the line that holds them is JSON."""
    write_records(tmp_path / "records.jsonl", numbered(3))
    job = make_job(tmp_path, [Map(fn=with_odd_values), ask(), Map(fn=check_odd_values)], max_errors=5)
    far = FarSide(refuse("review 1."))
    await run_job(job, far)
    [failed] = read_failed(job.folders)
    assert failed.record == {**numbered(2)[1], **ODD}
    [shown] = read_failures(job.folders, 5)
    assert shown["value"] == failed.record
    far.script = refuse()
    report = await run_job(job, far, retry=True)
    assert report.records["landed"] == 3
    assert sorted(ids(job)) == [0, 1, 2]


async def test_a_row_of_before_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What looks like the mark of a value is none where the row does not say that its record is exact."""
    row = {"part": "a", "ordinal": 1, "path": [], "order": 1, "step": 1, "name": "map", "outcome": "quarantined"}
    line = json.dumps({**row, "error": {}, "record": {"image": {"$bytes": "aGk="}}}).encode()
    assert FailedRow.from_line(line).record == {"image": {"$bytes": "aGk="}}


def with_an_object(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "tags": range(2)}


async def test_a_record_that_is_not_kept_says_why_it_is_not_retried(tmp_path: Path) -> None:
    """It stays in quarantine with its own cause, and never comes back as something else."""
    write_records(tmp_path / "records.jsonl", numbered(3))
    job = make_job(tmp_path, [Map(fn=with_an_object), ask("{{ text }} {{ tags }}")], max_errors=5)
    far = FarSide(refuse("review 1."))
    await run_job(job, far)
    causes = [row.error["message"] for row in read_failed(job.folders)]
    far.script = refuse()
    for _ in range(2):
        report = await run_job(job, far, retry=True)
        assert report.records["quarantined"] == 3
        told = [row.error["message"] for row in read_failed(job.folders)]
        assert told == [
            f"{cause} (not tried again: the record held values that the quarantine does not keep)" for cause in causes
        ]


async def test_a_function_that_changes_its_record_before_it_fails(tmp_path: Path) -> None:
    """Quarantine holds the record as it came, in both halves: what is tried again is changed once."""
    mended = tmp_path / "mended"

    def change(record: dict[str, Any], number: int) -> dict[str, Any]:
        record["text"] = f"changed {record['text']}"
        if record["id"] == number and not mended.exists():
            raise ValueError("not yet")
        return record

    def early(record: dict[str, Any]) -> dict[str, Any]:
        return change(record, 1)

    def late(record: dict[str, Any]) -> dict[str, Any]:
        return change(record, 2)

    write_records(tmp_path / "records.jsonl", numbered(4))
    job, far = make_job(tmp_path, [Map(fn=early), ask(), Map(fn=late)], max_errors=9), FarSide()
    await run_job(job, far)
    mended.touch()
    report = await run_job(job, far, retry=True)
    assert report.records["landed"] == 4
    assert {record["text"] for record in read_output(job.folders)} == {
        f"changed changed review {number}." for number in range(4)
    }


async def test_many_in_a_row_may_fail_again(tmp_path: Path) -> None:
    """A retry tries only what failed before: in a row says nothing, `max_errors` does."""
    write_records(tmp_path / "records.jsonl", numbered(400))
    job = make_job(tmp_path, [Filter(fn=every_third_fails), ask()], max_errors=0.5)
    assert (await run_job(job, FarSide())).outcome == "finished"
    report = await run_job(job, FarSide(), retry=True)
    assert (report.outcome, report.records["quarantined"]) == ("finished", 134)


def every_third_fails(record: dict[str, Any]) -> bool:
    if record["id"] % 3 == 0:
        raise ValueError("every third")
    return True
