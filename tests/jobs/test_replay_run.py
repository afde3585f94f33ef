"""`tidemill.replay` of a run: what stands in its quarantine is a stream again, and can be a job's source."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from resuming import check_resumes_everywhere, outcomes
from workbench import FarSide, ask, label, make_job, numbered, refuse, run_job, write_records

import tidemill as tm
from tidemill.data.nodes.single import Drop, Map
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.replay import Replay


async def quarantine_some(folder: Path, **fields: Any) -> RunFolder:
    """A run of 30 records and a corrupt line, of which that and three records stand in quarantine."""
    records = numbered(30)
    write_records(folder / "records.jsonl", [*records[:10], "{corrupt", *records[10:]])
    job = make_job(folder, [label()], max_errors=100, **fields)
    await run_job(job, FarSide(refuse("review 3.", "review 14.", "review 25.")))
    return job.folders


def ids(outcomes: list[Any]) -> list[Any]:
    return [each[1]["id"] if each[0] == "record" else each[2] for each in outcomes]


async def test_quarantined_records_are_a_stream(tmp_path: Path) -> None:
    """By the output folder or the run folder, at every position; the bytes of the corrupt line among them."""
    folders = await quarantine_some(tmp_path, run={"dir": "run"})
    for target in (folders.output, folders.run):
        assert ids(check_resumes_everywhere(partial(tm.replay(target).iterate))) == [3, b"{corrupt", 14, 25]
    wrong, line, *_ = tm.replay(folders.output, errors=True)
    assert wrong["record"] == numbered(4, 3)[0]
    assert {name: wrong[name] for name in ("step", "type", "part", "ordinal", "path", "outcome", "is_whole")} == {
        "step": "generate",
        "type": "PermanentCallError",
        "part": "records.jsonl",
        "ordinal": 3,
        "path": [],
        "outcome": "quarantined",
        "is_whole": True,
    }
    assert (line["step"], line["raw"], line["record"]) == ("source", b"{corrupt", None)
    assert line["where"].startswith(f"{tmp_path / 'records.jsonl'}, byte ")
    assert line["message"].startswith(line["where"])


async def test_a_job_file_names_its_run(tmp_path: Path) -> None:
    """As it does in the commands."""
    folders = await quarantine_some(tmp_path)
    (tmp_path / "job.yaml").write_text("source: {path: records.jsonl}\nsteps: []\nsink: {path: out}\n")
    assert tm.replay(tmp_path / "job.yaml") == tm.replay(folders.run)


async def test_what_retry_took_up_stands_there_no_more(tmp_path: Path) -> None:
    """Neither what landed then nor the old row of what failed anew."""
    folders = await quarantine_some(tmp_path)
    job = make_job(tmp_path, [label()], max_errors=100)
    await run_job(job, FarSide(refuse("review 14.")), retry=True)
    assert ids(check_resumes_everywhere(partial(tm.replay(folders.output).iterate))) == [b"{corrupt", 14]


async def test_only_some_rows_of_a_part_were_taken_up(tmp_path: Path) -> None:
    """A retry that its budget ended early leaves the others."""
    write_records(tmp_path / "records.jsonl", numbered(10))
    await run_job(make_job(tmp_path, [label()], max_errors=100), FarSide(refuse("review")))
    sink = {"segment": SegmentLimits(records=4)}
    bounded = make_job(tmp_path, [label()], max_errors=100, budget={"calls": 10 + 6}, sink=sink)
    await run_job(bounded, FarSide(), retry=True)
    assert ids(check_resumes_everywhere(partial(tm.replay(tmp_path / "out").iterate))) == [4, 5, 6, 7, 8, 9]


async def test_a_mended_pipeline_is_run_over_it(tmp_path: Path) -> None:
    """As a job of its own; the line that is still none is quarantined with its bytes once more."""
    folders = await quarantine_some(tmp_path)
    mended = make_job(tmp_path, [ask()], source=Replay(folders.output), sink={"path": "again"})
    report = await run_job(mended, FarSide(), limit=2)
    report = await run_job(mended, FarSide())
    assert report.records == {"landed": 3, "dropped": 0, "skipped": 0, "quarantined": 1}
    assert [record["id"] for record in tm.dataset(tmp_path / "again")] == [3, 14, 25]
    assert ids(outcomes(tm.replay(tmp_path / "again").iterate())) == [b"{corrupt"]
    retried = await run_job(mended, FarSide(), retry=True)
    assert retried.records == report.records
    with pytest.raises(tm.ConfigError, match=r"a job file reads files, .*, and this stream starts from a quarantine"):
        tm.Job(mended).to_yaml()


async def test_a_run_without_failures_is_an_empty_stream(tmp_path: Path) -> None:
    """There is nothing to replay, and that is no error."""
    write_records(tmp_path / "records.jsonl", numbered(3))
    job = make_job(tmp_path, [ask()])
    await run_job(job, FarSide())
    assert list(tm.replay(job.folders.output)) == []


def add_bytes(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "image": b"\xff\xd8"}


async def test_a_record_with_bytes_is_given_with_them(tmp_path: Path) -> None:
    """As it came to the step that failed."""
    write_records(tmp_path / "records.jsonl", numbered(3))
    job = make_job(tmp_path, [Map(fn=add_bytes), ask(), Drop(columns=("image",))], max_errors=5)
    await run_job(job, FarSide(refuse("review 1.")))
    assert list(tm.replay(job.folders.output)) == [add_bytes(numbered(2)[1])]


def add_an_object(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "tags": range(2)}


async def test_a_record_that_is_not_kept_is_told(tmp_path: Path) -> None:
    """With the step it failed at, and why."""
    write_records(tmp_path / "records.jsonl", numbered(3))
    job = make_job(tmp_path, [Map(fn=add_an_object), ask("{{ text }} {{ tags }}")], max_errors=5)
    await run_job(job, FarSide(refuse("review 1.")))
    told = outcomes(tm.replay(job.folders.output).iterate())
    assert len(told) == 3
    for kind, message, _, _ in told:
        assert kind == "DataError"
        assert message.startswith(
            "the record cannot be replayed, as the quarantine does not keep its values; it failed at `"
        )
