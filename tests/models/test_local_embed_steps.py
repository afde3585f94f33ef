"""`embed` with a model of this process, in jobs, streams and pipelines: the column of an API, and nothing is called."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tinymodels import make_model

import tidemill as tm
from tidemill.models.torch.texts.embedder import open_embedder
from tidemill.testing import run

TEXTS = ["the tide comes in", "and goes out", "the mill wheel turns", "the " * 40] * 25


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with records, and beside them the model."""
    (tmp_path / "tiny").symlink_to(tiny)
    (tmp_path / "records.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_job(folder: Path, *, steps: list[dict[str, Any]], **fields: Any) -> Path:
    job = {"source": {"path": "records.jsonl"}, "steps": steps, "sink": {"path": "out"}, **fields}
    (folder / "job.yaml").write_text(json.dumps(job))
    return folder / "job.yaml"


def embed(**fields: Any) -> dict[str, Any]:
    return {"embed": {"model": "local/tiny", "column": "text", "batch_size": 8, **fields}}


def test_a_job_lands_vectors_and_calls_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Float32 of one length, in the order of the records; cut texts are told. A budget needs no price of it."""
    job = tm.load_job(write_job(folder, steps=[embed()], budget={"usd": 1}))
    with caplog.at_level(logging.WARNING):
        report = job.run(progress=False)
    assert (report.outcome, report.records["landed"], report.calls["calls"]) == ("finished", 100, 0)
    table = pq.read_table(folder / "out")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    assert table["text"].to_pylist() == TEXTS
    wanted = open_embedder(folder / "tiny").embed(TEXTS)
    assert all(pytest.approx(a, abs=1e-6) == b for a, b in zip(wanted, table["embedding"].to_pylist(), strict=True))
    [did] = report.compute["embed"].values()
    assert (did["records"], did["cut"], did["batch"]) == (100, 25, 8)
    assert "step `embed`: 25 texts were cut to the 24 tokens that the model takes" in caplog.text


def test_streams_pipelines_and_previews_give_the_same(folder: Path) -> None:
    stream = tm.read("records.jsonl").embed("local/tiny", text="{{ text }}", into="v", dimensions=3)
    [wanted] = open_embedder(folder / "tiny", dimensions=3).embed(TEXTS[:1])
    found = [next(iter(stream)), stream.preview(1)[0].result, stream.pipeline({"text": TEXTS[0]})]
    for record in found:
        assert record == {"text": TEXTS[0], "v": pytest.approx(wanted, abs=1e-6)}


def test_a_record_without_a_text_fails_alone(folder: Path) -> None:
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"text": ""}\n{"text": 3}\n')
    report = tm.load_job(write_job(folder, steps=[embed()], max_errors=5)).run(progress=False)
    assert (report.records["landed"], report.records["quarantined"]) == (100, 2)


def test_a_model_that_cannot_be_loaded_stops_the_run(folder: Path) -> None:
    """No record is blamed."""
    job = write_job(folder, steps=[embed(dimensions=17)])
    report = tm.load_job(job).run(progress=False)
    assert (report.outcome, report.exit_code, report.records["quarantined"]) == ("failed", 3, 0)
    assert "step `embed`" in report.reason
    assert "expected at most the 16 dimensions" in report.reason


def test_check_looks_at_the_model_and_loads_nothing(folder: Path) -> None:
    """What is not there is told at its place in the file."""
    program = "import sys, tidemill as tm; tm.load_job('job.yaml').check(); print('torch' in sys.modules)"
    write_job(folder, steps=[embed()])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    write_job(folder, steps=[embed(model="local/tyni")])
    with pytest.raises(tm.ConfigError, match=r"job\.yaml:1:\d+ .*no model that makes vectors is called `local/tyni`"):
        tm.load_job("job.yaml").check()


def test_a_stream_says_which_step_has_no_model(folder: Path) -> None:
    with pytest.raises(tm.ConfigError, match=r"^step `embed`: no model that makes vectors is called `local/tyni`"):
        list(tm.read("records.jsonl").embed("local/tyni", "text"))


def test_it_is_rehearsed_for_real_unless_it_is_given_a_reply(folder: Path) -> None:
    job = write_job(folder, steps=[embed(), {"generate": {"model": "openai/x", "prompt": "{{ text }}", "into": "a"}}])
    seen = run(job, {"generate": "said"}, limit=2)
    assert [(len(record["embedding"]), record["a"]) for record in seen.records] == [(16, "said")] * 2
    seen = run(job, {"generate": "said", "embed": [0.5, 1.0]}, limit=2)
    assert [record["embedding"] for record in seen.records] == [[0.5, 1.0]] * 2


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"params": {"user": "me"}}, "expected none: `local/tiny` runs in this process and is sent no request"),
        ({"model": tm.model("local/tiny", params={"user": "me"})}, "expected none: `local/tiny` runs in this process"),
        ({"model": tm.model("local/tiny", price=tm.Price(1, 0))}, "expected no `price`: `local/tiny` runs in this"),
        ({"model": tm.model("local/tiny", limits=tm.Limits(concurrency=2))}, "expected no `limits`: `local/tiny` runs"),
    ],
)
def test_what_is_sent_to_nobody_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.from_iterable([]).embed(**{"model": "local/tiny", "column": "text", **fields})


def test_a_model_that_makes_vectors_generates_nothing(folder: Path) -> None:
    job = write_job(folder, steps=[{"generate": {"model": "local/tiny", "prompt": "{{ text }}"}}])
    with pytest.raises(tm.ConfigError, match="no local model that writes is called `local/tiny`") as caught:
        tm.load_job(job).check()
    assert "`local/minilm` and folders make vectors (`embed`)" in str(caught.value)
    with pytest.raises(tm.ConfigError, match="no local model that writes is called `local/tiny`"):
        tm.model("local/tiny")("hello")
