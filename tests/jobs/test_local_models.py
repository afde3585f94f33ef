"""Local models in jobs, streams and pipelines: started by the first call to them, and not before."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, label, make_job, make_model, numbered, read_output, run_job, write_records

import tidemill as tm
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.local.weights import embedded_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records, and beside them a model that looks like one until it is loaded."""
    write_records(tmp_path / "records.jsonl", numbered(6))
    with embedded_weights().open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(1_000_000))
    return tmp_path


def local(name: str = "cut.gguf", **fields: Any) -> Node:
    return ask("About {{ id }}", model=tm.model(f"local/{name}"), max_tokens=4, into="local", **fields)


def none(record: dict[str, Any]) -> bool:
    return False


def job_of(folder: Path, *steps: Node, **fields: Any) -> JobSpec:
    return make_job(folder, steps, **fields)


async def test_a_run_that_asks_nothing_starts_nothing(folder: Path) -> None:
    """An empty source, and records that are all dropped before it."""
    write_records(folder / "empty.jsonl", [])
    empty = job_of(folder, local(), source="empty.jsonl")
    assert (await run_job(empty, FarSide())).outcome == "finished"
    dropped = job_of(folder, Filter(fn=none), local(), sink={"path": "dropped"})
    assert (await run_job(dropped, FarSide())).records["dropped"] == 6


async def test_a_finished_run_starts_nothing_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server of the sitting that did the work is stopped with it."""
    shutil.copy(embedded_weights(), folder / "mine.gguf")
    job, far = job_of(folder, local("mine.gguf")), FarSide()
    logger = "tidemill.models.local.server"
    with caplog.at_level(logging.INFO, logger):
        assert (await run_job(job, far)).records["landed"] == 6
        told = [record.getMessage().split()[1] for record in caplog.records if record.name == logger]
        assert told == ["serves", "stopped"]
    (folder / "mine.gguf").write_bytes((folder / "cut.gguf").read_bytes())
    report = await run_job(job, far)
    assert (report.outcome, report.reason) == ("finished", "already finished, nothing to do")


async def test_a_model_that_does_not_start_stops_the_run(folder: Path) -> None:
    """Exit 3, no record blamed; what was paid before it is kept."""
    far = FarSide()
    job = job_of(folder, label(model=make_model()), local())
    report = await run_job(job, far)
    assert (report.outcome, report.exit_code, report.records["quarantined"]) == ("failed", 3, 0)
    assert "llama.cpp could not load" in report.reason
    paid = len(far.billed)
    assert paid
    shutil.copy(embedded_weights(), folder / "cut.gguf")
    report = await run_job(job, far)
    assert (report.outcome, report.recalled, len(read_output(job.folders))) == ("finished", paid, 6)
    assert sum(question.startswith("Label") for question in far.questions) == 6


def test_streams_pipelines_and_previews_start_it_with_the_first_call(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What asks nothing of the model works without it; what does is told why it cannot."""
    monkeypatch.chdir(folder)
    for steps in ([Filter(fn=none), local()], [local()]):
        pipeline = tm.Pipeline(steps, folder=folder)
        stream = tm.read("records.jsonl") | pipeline
        if len(steps) == 2:
            assert pipeline({"id": 1}) is None
            assert list(stream) == []
            assert stream.preview(2) == []
            continue
        for act in (lambda: pipeline({"id": 1}), lambda: list(stream), lambda: stream.preview(2)):  # noqa: B023
            with pytest.raises(tm.ResourceError, match=r"llama\.cpp could not load"):
                act()
