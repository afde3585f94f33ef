"""Jobs with a model of this process: each record lands once, whatever ends a sitting, and the report says what ran."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, make_job, numbered, read_failed, read_output, run_job, write_records

import tidemill as tm
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import FlatMap
from tidemill.jobs.running.inspect import count_reasons, read_replies
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.steps.predict import Predict
from tidemill.resources.worker import THREAD_PREFIX
from tidemill.testing import run as run_rehearsal
from tidemill.view.calls import iter_compute_lines

MODELS = """\
import os
import sys
import time

import torch


class Length(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([2.0]))
        self.batches = 0

    def forward(self, ids):
        self.batches += 1
        if os.environ.get("BLOCK_AT") == str(self.batches):
            sys.stdout.write("blocked\\n")
            sys.stdout.flush()
            sys.stdin.read()
        return {"length": ids.sum(1, keepdim=True) * self.scale}


model = Length()


def load(device="nowhere"):
    return Length().to(device)


def to_ids(record):
    return {**record, "ids": [1] * (record["id"] % 7 + 1)}


def shorten(output):
    return round(output["length"].item(), 3)
"""

JOB = """\
source: {path: records.jsonl}
steps:
  - predict: {model: my_models:model, column: ids, into: size, pad: 0, batch: 8, finish: my_models:shorten}
  - predict: {load: my_models:load, column: ids, pad: 0, devices: [cpu, cpu], inference: true, name: again}
sink: {path: out, format: jsonl, segment: {records: 10}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_models.py").write_text(MODELS)
    (tmp_path / "job.yaml").write_text(JOB)
    records = [{**record, "ids": [1] * (record["id"] % 7 + 1)} for record in numbered(60)]
    write_records(tmp_path / "records.jsonl", records)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sizes(count: int) -> list[float]:
    return [2.0 * (number % 7 + 1) for number in range(count)]


def test_a_job_file_says_what_a_chain_does(folder: Path) -> None:
    job = tm.load_job("job.yaml")
    job.check()
    (folder / "again.yaml").write_text(job.to_yaml())
    assert tm.load_job("again.yaml") == job
    assert "model: my_models:model" in job.to_yaml()
    report = job.run(progress=False)
    assert (report.outcome, report.exit_code, report.records["landed"]) == ("finished", 0, 60)
    rows = list(tm.dataset("out"))
    assert [row["size"] for row in rows] == sizes(60)
    assert [row["prediction"]["length"] for row in rows] == [[size] for size in sizes(60)]
    assert read_replies(job.spec.folders, 10) == []


def test_the_report_says_what_each_device_computed(folder: Path) -> None:
    report = tm.load_job("job.yaml").run(progress=False)
    first, again = report.compute["predict"]["cpu"], report.compute["again"]
    assert first["records"] == sum(device["records"] for device in again.values()) == 60
    assert list(again) in (["cpu"], ["cpu", "cpu#2"])
    assert 60 / 8 <= first["batches"] <= 60
    assert first["batch"] == 8
    assert 0 < first["busy_ratio"] <= 1
    assert (first["out_of_memory"], first["peak_bytes"]) == (0, None)
    assert report.to_dict()["compute"]["predict"]["cpu"] == first
    line = next(iter_compute_lines(report.compute))
    assert line.startswith(f"predict: 60 records in {first['batches']} batches on cpu, busy ")
    line = next(iter_compute_lines({"p": {"cuda:0": {**first, "peak_bytes": 3_000_000, "out_of_memory": 2}}}))
    assert line.endswith("peak 3 MB, out of memory 2 times, now 8 records a batch")


WRONG = {
    "no such column": ("column: ids, into", "column: idss, into", r"no record has a column `idss`(.|\n)*mean `ids`"),
    "no such model": ("my_models:model", "my_models:modle", r"`my_models` has no `modle`(.|\n)*did you mean"),
    "a key too many": ("batch: 8", "batchs: 8", r"unknown key `batchs`(.|\n)*did you mean `batch`"),
    "one column twice": ("into: size", "into: prediction", r"column `prediction` is written by step `predict` already"),
    "the forward": ("my_models:model,", "my_models:model.forward,", r"got the bound `forward` of a `Length`"),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_finds_what_is_wrong_and_loads_nothing(case: str, folder: Path) -> None:
    found, other, message = WRONG[case]
    (folder / "job.yaml").write_text(JOB.replace(found, other).replace("my_models:load", "my_models:to_ids"))
    with pytest.raises(tm.ConfigError, match=message):
        tm.load_job("job.yaml").check()


def test_a_job_file_is_checked_without_torch(tmp_path: Path) -> None:
    """Its model is named, and torch is the model's own affair."""
    write_records(tmp_path / "records.jsonl", numbered(3))
    (tmp_path / "plain.py").write_text("def score(records):\n    return [record['id'] for record in records]\n")
    steps = "steps: [{predict: plain:score}]\nsource: {path: records.jsonl}\nsink: {path: out}\n"
    (tmp_path / "job.yaml").write_text(steps)
    code = (
        "import sys, tidemill as tm\n"
        "job = tm.load_job('job.yaml')\njob.check()\nprint(job.run(progress=False).outcome)\n"
        "print([row['prediction'] for row in tm.dataset('out')], 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "finished\n[0, 1, 2] False\n"


def test_a_budget_bounds_what_is_asked_outside_only(folder: Path) -> None:
    """No ceiling is asked of a model that costs nothing, and no estimate is made of it."""
    job = tm.load_job("job.yaml", "budget={usd: 1}")
    job.check()
    with pytest.raises(tm.ConfigError, match="no step makes calls, and there is nothing to estimate"):
        job.estimate()


async def test_an_estimate_goes_through_a_prediction(folder: Path) -> None:
    steps: list[Node] = [Predict(model=score, into="size"), ask("{{ text }} {{ size }} {{ size.length }}")]
    job = tm.from_iterable(numbered(20))
    for step in steps:
        job = job | tm.Pipeline([step])
    assert job.estimate().calls == 20


def test_it_can_be_tried(folder: Path) -> None:
    trials = tm.load_job("job.yaml").preview(2)
    assert [trial.result["size"] for trial in trials] == sizes(2)
    assert [trial.exchanges for trial in trials] == [[], []]


def score(records: list[dict[str, Any]]) -> list[int]:
    """Of this module, so that a job can name it."""
    return [record["id"] for record in records]


def fail_at_seven(records: list[dict[str, Any]]) -> list[int]:
    if any(record["id"] == 7 for record in records):
        raise ValueError("seven")
    return score(records)


async def test_a_record_that_the_model_fails_at_is_quarantined_alone(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", numbered(50))
    job = make_job(tmp_path, [Predict(model=fail_at_seven, batch=16)])
    report = await run_job(job, FarSide())
    assert (report.outcome, report.records["landed"], report.records["quarantined"]) == ("finished", 49, 1)
    assert [row["prediction"] for row in read_output(job.folders)] == [n for n in range(50) if n != 7]
    [failed] = read_failed(job.folders)
    assert (failed.ordinal, failed.name, failed.error["type"]) == (7, "predict", "ValueError")
    assert "fail_at_seven" in failed.error["at"]
    assert count_reasons(job.folders)[0][0] == 1
    mended = make_job(tmp_path, [Predict(model=fail_at_seven, batch=1)])
    assert (await run_job(mended, FarSide(), retry=True)).records["quarantined"] == 1


def three(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "side": side} for side in range(3)]


async def test_records_gather_behind_calls_and_in_front_of_them(tmp_path: Path) -> None:
    """In one window: a batch waits for what is on its way, and goes when nothing more can come."""
    sizes: list[int] = []

    def measure(records: list[dict[str, Any]]) -> list[int]:
        sizes.append(len(records))
        return [len(record["reply"]) for record in records]

    write_records(tmp_path / "records.jsonl", numbered(40))
    steps = [ask("{{ text }}"), FlatMap(fn=three), Predict(model=measure, batch=16), ask("{{ prediction }}", into="b")]
    job, far = make_job(tmp_path, steps), FarSide()
    report = await run_job(job, far)
    assert (report.outcome, report.records["landed"]) == ("finished", 120)
    assert [(row["id"], row["side"]) for row in read_output(job.folders)] == [
        (n, s) for n in range(40) for s in range(3)
    ]
    assert sum(sizes) == 120
    assert max(sizes) == 16
    assert len(far.billed) == 160


async def test_batches_are_full_while_there_are_records(tmp_path: Path) -> None:
    """The window is wide enough for all devices, whatever else a job does."""
    sizes: list[int] = []

    def measure(records: list[dict[str, Any]]) -> list[int]:
        sizes.append(len(records))
        return score(records)

    write_records(tmp_path / "records.jsonl", numbered(2_000))
    job = make_job(tmp_path, [Predict(model=measure, batch=100, devices=("cpu", "cpu"))], sink={"segment": {}})
    assert (await run_job(job, FarSide())).records["landed"] == 2_000
    assert sum(sizes) == 2_000
    assert sizes.count(100) >= 14


async def test_a_limit_and_going_on_compute_each_record_once(tmp_path: Path) -> None:
    seen: list[int] = []

    def note(records: list[dict[str, Any]]) -> list[int]:
        seen.extend(score(records))
        return score(records)

    note.__tidemill_version__ = "1"  # type: ignore[attr-defined]
    write_records(tmp_path / "records.jsonl", numbered(50))
    job = make_job(tmp_path, [Predict(model=note, batch=8)])
    assert (await run_job(job, FarSide(), limit=20)).outcome == "limit"
    assert (await run_job(job, FarSide())).outcome == "finished"
    assert sorted(seen) == list(range(50))
    assert [row["prediction"] for row in read_output(job.folders)] == list(range(50))


@pytest.mark.parametrize("times", [1, 2])
async def test_a_run_that_is_stopped_goes_on(times: int, tmp_path: Path) -> None:
    """What is on the device ends and is sealed, or not even that; afterwards each record has landed once."""
    runner: Runner

    def stop_at_twenty(records: list[dict[str, Any]]) -> list[int]:
        if any(record["id"] == 20 for record in records) and not stopped:
            stopped.append(True)
            loop.call_soon_threadsafe(runner.stop, times)
        return score(records)

    loop = asyncio.get_running_loop()
    stopped: list[bool] = []
    stop_at_twenty.__tidemill_version__ = "1"  # type: ignore[attr-defined]
    write_records(tmp_path / "records.jsonl", numbered(1_000))
    job = make_job(tmp_path, [Predict(model=stop_at_twenty, batch=4)])
    runner = Runner(job, transport=FarSide().connect)
    report = await runner.run()
    assert (report.outcome, report.exit_code) == ("stopped", 130)
    assert report.records["landed"] < 1_000
    assert not any(thread.name.startswith(f"{THREAD_PREFIX}predict") for thread in threading.enumerate())
    assert (await run_job(job, FarSide())).outcome == "finished"
    assert [row["prediction"] for row in read_output(job.folders)] == list(range(1_000))


def test_a_job_with_a_model_can_be_rehearsed(folder: Path) -> None:
    """In virtual time: the model runs, what is asked is scripted."""
    job = tm.load_job("job.yaml")
    stream = tm.from_iterable(numbered(20)).predict(score, into="size") | tm.Pipeline([ask("{{ text }} {{ size }}")])
    assert [row["size"] for row in run_rehearsal(job, {}).records] == sizes(60)
    rows = run_rehearsal(stream, {"generate": lambda call: call.prompt}).records
    assert [row["reply"] for row in rows] == [f"review {number}. {number}" for number in range(20)]


def load_nothing() -> Any:
    raise OSError("no such weights")


async def test_a_model_that_cannot_be_loaded_stops_the_run(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", numbered(50))
    job = make_job(tmp_path, [Predict(load=load_nothing)])
    report = await run_job(job, FarSide())
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert report.reason == "step `predict`: the model cannot be loaded: OSError: no such weights"
    assert report.records["quarantined"] == 0
    assert report.compute == {"predict": {}}


def misfit(records: list[dict[str, Any]]) -> list[int]:
    return [1]


async def test_outputs_that_do_not_fit_stop_the_run(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", numbered(50))
    report = await run_job(make_job(tmp_path, [Predict(model=misfit)]), FarSide())
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert "the model gave an output of 1 results for a batch of" in report.reason


def kill_at(folder: Path, batch: int) -> None:
    """Run the job in a process of its own, and kill that while its model is at a batch."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tidemill", "run", "job.yaml"]
    with subprocess.Popen(command, cwd=folder, env=environment(batch), stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert any(line == "blocked\n" for line in process.stdout)
        process.kill()


def environment(batch: int) -> dict[str, str]:
    return {**os.environ, "BLOCK_AT": str(batch)}


def test_after_a_kill_each_record_lands_once(folder: Path) -> None:
    """SIGKILL with batches on their way: what was not sealed is computed again."""
    (folder / "job.yaml").write_text(JOB.partition("  - predict: {load")[0] + JOB[JOB.index("sink") :])
    kill_at(folder, 5)
    job = tm.load_job("job.yaml")
    done = len(list(iter_landed(job.spec)))
    assert done < 60
    report = job.run(progress=False)
    assert report.outcome == "finished"
    assert [(row["id"], row["size"]) for row in iter_landed(job.spec)] == list(enumerate(sizes(60)))


def iter_landed(job: JobSpec) -> Iterator[dict[str, Any]]:
    yield from read_output(job.folders)
