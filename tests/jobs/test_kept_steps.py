"""Jobs whose source half keeps things on disk: they go on from there, and `--fresh` takes them away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, make_job, numbered, read_output, run_job, write_records

from tidemill.data.kept import digests
from tidemill.data.nodes.keeping import Dedupe, GroupBy, Sort
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import WithColumns
from tidemill.jobs.spec.job import JobSpec
from tidemill.stream.stream import make_stream


def find_third(record: Any) -> int:
    return int(record["id"]) // 3


STEPS: list[Node] = [
    WithColumns(columns={"third": find_third}),
    Sort(key="text", reverse=True, memory=2000),
    Dedupe(key="third"),
    GroupBy(keys=("id", "third"), agg={"text": ("first", "text")}, memory=9000),
    Sort(key="id", memory=2000),
]


def make(folder: Path) -> JobSpec:
    return make_job(folder, [*STEPS, ask("{{ text }}")])


@pytest.mark.usefixtures("small")
async def test_a_job_goes_on_from_what_its_steps_keep(tmp_path: Path) -> None:
    """Sitting by sitting, each record once and in order; the folder is the run's own."""
    write_records(tmp_path / "records.jsonl", numbered(120))
    far = FarSide()
    job = make(tmp_path)
    for limit in (7, 8, 26):
        assert (await run_job(job, far, limit=limit)).done <= limit
    report = await run_job(job, far)
    placed = [
        node.model_copy(update={"dir": str(tmp_path / "plain")}) if "dir" in type(node).model_fields else node
        for node in STEPS
    ]
    expected = [record["id"] for record in make_stream(job.source, placed)]
    assert [record["id"] for record in read_output(job.folders)] == expected
    assert len(far.billed) == len(expected) == report.done
    assert [step["dropped"] for step in report.steps] == [0, 0, 0, 120 - len(expected), 0, 0, 0, 0]
    assert {path.name.partition("-")[0] for path in job.folders.kept.iterdir()} == {"dedupe", "group_by", "sort"}


@pytest.mark.usefixtures("small")
async def test_fresh_takes_away_what_steps_keep(tmp_path: Path) -> None:
    """And nothing that is not theirs; without it, a run whose folder is gone says so."""
    write_records(tmp_path / "records.jsonl", numbered(60))
    job = make(tmp_path)
    await run_job(job, FarSide(), limit=9)
    own = write_records(job.folders.kept / "notes.txt", ["mine"])
    for path in job.folders.kept.glob("sort-*/run-0-*"):
        path.unlink()
    report = await run_job(job, FarSide())
    assert report.outcome == "failed"
    assert "step `sort_2`: what the state names in the step's folder is not there" in report.reason
    report = await run_job(job, FarSide(), fresh=True)
    assert (report.outcome, report.before, own.exists()) == ("finished", 0, True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes as they come with millions of records."""
    monkeypatch.setattr(digests, "STRETCH", 16)
    monkeypatch.setattr("tidemill.data.stages.spilling.GIVEN", 4)
