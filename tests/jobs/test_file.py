"""Job files: one list of steps behind the chain, the pipeline and the file, and equal fingerprints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import tidemill as tm
from tidemill.testing import FaultServer

DESIGN = """\
source: {path: "reviews/*.jsonl.gz"}
models:
  fast: {model: openai/gpt-4.1-mini, limits: {requests_per_minute: 30000}, price: {input: 0.15, output: 0.60}}   # USD
steps:
  - filter: my_steps:is_english                    # import path; the job file's folder is importable
  - generate:
      {model: fast, prompt: "Label this review: {{ text }}", output: my_schemas:Label, into: label, max_tokens: 64}
budget: {usd: 20}
sink: {path: out/labelled}
"""

STEPS = """\
def is_english(record):
    return record["language"] == "en"


def double(record):
    return [record, record]


def length(record):
    return len(record["text"])
"""

SCHEMAS = """\
from typing import Literal

from pydantic import BaseModel, Field


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a job, with modules that are forgotten afterwards."""
    (tmp_path / "my_steps.py").write_text(STEPS)
    (tmp_path / "my_schemas.py").write_text(SCHEMAS)
    (tmp_path / "job.yaml").write_text(DESIGN)
    (tmp_path / "prompt.txt").write_text("Why {{ label.topic }}?\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("my_steps", "my_schemas"):
        sys.modules.pop(name, None)


def chain() -> tm.Stream[dict[str, Any]]:
    from my_schemas import Label  # type: ignore[import-not-found]
    from my_steps import is_english  # type: ignore[import-not-found]

    limits = tm.Limits(requests_per_minute=30_000)
    fast = tm.model("openai/gpt-4.1-mini", limits=limits, price=tm.Price(0.15, 0.60))
    return (
        tm.read("reviews/*.jsonl.gz")
        .filter(is_english)
        .generate(fast, prompt="Label this review: {{ text }}", output=Label, into="label", max_tokens=64)
    )


def every_step() -> tm.Stream[dict[str, Any]]:
    """A chain with every kind of step and many options."""
    from my_steps import double, is_english, length

    local = tm.model("local/weights.gguf", limits=tm.Limits(concurrency=2))
    other = tm.model("vllm/any", base_url="http://localhost:8000/v1", params={"top_k": 5}, headers={"X-Team": "a"})
    return (
        tm.read(["a.jsonl", "b/*.txt"], format="jsonl", on_error="skip")
        .filter(is_english, name="english")
        .with_columns(length=length)
        .with_columns(columns=length)
        .take(100)
        .generate(local, {"file": "prompt.txt"}, system="Be brief.", temperature=0.5, stop=("\n",), seed=7)
        .flat_map(double)
        .map(dict)
        .generate(other, "{{ reply }}", into="more", params={"logprobs": True}, max_reasks=0, on_error="skip")
        .select("reply", "more")
    )


def test_the_chain_and_the_file_of_the_design_are_equal(folder: Path) -> None:
    job, same = tm.load_job("job.yaml"), chain().job("out/labelled", budget=tm.Budget(usd=20))
    assert job.pipeline == chain().pipeline
    assert job.pipeline.fingerprint == chain().pipeline.fingerprint
    assert job.fingerprint == same.fingerprint
    assert job == same
    assert hash(job) == hash(same)
    assert job.spec.budget == same.spec.budget
    assert repr(job) == "<Job: source | filter | generate to 'out/labelled'>"


def test_the_file_of_the_chain_is_the_file_of_the_design(folder: Path) -> None:
    """To YAML and back: nothing is lost, and nothing is said that goes without saying."""
    job = chain().job("out/labelled", budget=tm.Budget(usd=20))
    written, expected = yaml.safe_load(job.to_yaml()), yaml.safe_load(DESIGN)
    expected["models"] = {"gpt-4.1-mini": expected["models"]["fast"]}
    expected["steps"][1]["generate"]["model"] = "gpt-4.1-mini"
    assert written == expected


@pytest.mark.parametrize("make", [chain, every_step])
def test_chain_to_pipeline_to_file_and_back(folder: Path, make: Any) -> None:
    stream = make()
    pipeline = tm.Pipeline(stream.pipeline.nodes)
    job = stream.job("out", format="jsonl", max_errors=0, run_dir="runs/one")
    (folder / "again.yaml").write_text(job.to_yaml())
    again = tm.load_job("again.yaml")
    assert again.pipeline == pipeline == stream.pipeline
    assert again.pipeline.fingerprint == pipeline.fingerprint
    assert again.fingerprint == job.fingerprint
    assert (again.spec.max_errors, again.spec.run.dir, again.spec.sink) == (0, "runs/one", job.spec.sink)
    assert again.to_yaml() == job.to_yaml()


def test_a_step_of_one_field_is_written_as_that_field(folder: Path) -> None:
    """By the rule it is read by: what looks like all fields of a step is written whole."""
    from my_steps import length

    stream = tm.read("a.jsonl").sample(0.5).drop("text").sort("n").with_columns(n=length).with_columns(columns=length)
    path = "my_steps:length"
    assert yaml.safe_load(stream.job("out").to_yaml())["steps"] == [
        {"sample": 0.5},
        {"drop": ["text"]},
        {"sort": "n"},
        {"with_columns": {"n": path}},
        {"with_columns": {"columns": {"columns": path}}},
    ]


def test_a_pipeline_without_steps_round_trips(folder: Path) -> None:
    job = tm.read("a.jsonl").job("out")
    (folder / "again.yaml").write_text(job.to_yaml())
    assert tm.load_job("again.yaml") == job


def test_two_models_of_one_name_stay_two(folder: Path) -> None:
    one, two = (tm.model("openai/x", base_url=f"http://localhost:{port}/v1") for port in (1, 2))
    stream = tm.read("a.jsonl").generate(one, "{{ text }}", into="a").generate(two, "{{ text }}", into="b")
    written = yaml.safe_load(stream.job("out").to_yaml())
    assert list(written["models"]) == ["x", "x-2"]
    assert [step["generate"]["model"] for step in written["steps"]] == ["x", "x-2"]


def test_a_file_names_no_credentials(folder: Path) -> None:
    model = tm.model(
        "openai/x", api_key="sk-canary-0123456789", headers={"Authorization": "Bearer canary-0123456789", "X-Team": "a"}
    )
    text = tm.read("a.jsonl").generate(model, "{{ text }}").job("out").to_yaml()
    assert "canary" not in text
    assert yaml.safe_load(text)["models"]["x"] == {"model": "openai/x", "headers": {"X-Team": "a"}}


def test_a_prompt_file_is_named_from_the_job_s_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "why.txt").write_text("Why?")
    (folder / "sub" / "job.yaml").write_text(
        "source: {path: a.jsonl}\nsteps:\n  - generate: {model: openai/x, prompt: {file: why.txt}}\nsink: {path: out}\n"
    )
    job = tm.load_job("sub/job.yaml")
    assert yaml.safe_load(job.to_yaml())["steps"][0]["generate"]["prompt"] == {"file": "why.txt"}
    assert job.pipeline.nodes[0] == tm.read("a.jsonl").generate("openai/x", "Why?").pipeline.nodes[0]


def test_a_record_s_image_is_named_from_the_job_s_folder(folder: Path, server: FaultServer) -> None:
    """By a run, and by every look at what one would send."""
    (folder / "sub").mkdir()
    (folder / "sub" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "sub" / "rows.jsonl").write_text('{"photo": "a.png"}\n')
    (folder / "sub" / "job.yaml").write_text(
        "source: {path: rows.jsonl}\nsteps:\n"
        f"  - generate: {{model: {{model: openai/x, base_url: '{server.base_url}', api_key: none}}, prompt: hi,"
        " images: [photo]}\nsink: {path: out}\n"
    )
    job = tm.load_job("sub/job.yaml")
    for call in (False, True):
        [trial] = job.preview(1, call=call)
        assert trial.error is None
        [exchange] = trial.exchanges
        assert exchange.request["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png")
    assert job.run(progress=False).outcome == "finished"
    assert server.billed == 2


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (lambda: tm.from_iterable([{"id": 1}]), "and this stream starts from an iterable"),
        (lambda: tm.read("a.jsonl").map(lambda record: record), "has no import path"),
    ],
)
def test_what_a_file_cannot_name_is_refused(stream: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        stream().job("out").to_yaml()


def test_overrides_go_over_the_file(folder: Path) -> None:
    job = tm.load_job(
        "job.yaml", ["budget.usd=40", "steps.1.generate.max_tokens=32", "models.fast.limits.concurrency=3"]
    )
    assert job.spec.budget == tm.Budget(usd=40)
    assert job.pipeline.nodes[1].max_tokens == 32  # type: ignore[attr-defined]
    assert job.pipeline.nodes[1].model.limits.slots == 3  # type: ignore[attr-defined]
    assert tm.load_job("job.yaml", "budget.usd=40").spec.budget == tm.Budget(usd=40)


RUNTIME = ["models.fast.limits.concurrency=3", "budget.usd=40", "max_errors=0.5", "models.fast.price.input=9"]
RUNTIME += ["models.fast.base_url=http://localhost:1/v1", "models.fast.api_key=sk-other", "sink.path=elsewhere"]
RUNTIME += ["sink.segment.records=7", "run.grace_s=1"]
RESULT = ["models.fast.model=openai/gpt-4.1", "steps.1.generate.max_tokens=32", "steps.1.generate.prompt=Other"]
RESULT += ["models.fast.params={top_k: 5}", "models.fast.headers={X-Team: a}", "steps.1.generate.temperature=0"]
RESULT += ["source.path=other.jsonl", "steps.0.filter=my_steps:double", "sink.format=jsonl", "steps.1.generate.seed=1"]


@pytest.mark.parametrize("override", RUNTIME)
def test_what_is_taken_while_running_is_no_part_of_the_fingerprint(folder: Path, override: str) -> None:
    assert tm.load_job("job.yaml", [override]) == tm.load_job("job.yaml")


@pytest.mark.parametrize("override", RESULT)
def test_what_decides_the_result_is_part_of_the_fingerprint(folder: Path, override: str) -> None:
    assert tm.load_job("job.yaml", [override]) != tm.load_job("job.yaml")


def test_a_credential_among_the_headers_is_no_part_of_the_fingerprint(folder: Path) -> None:
    jobs = [tm.load_job("job.yaml", [f"models.fast.headers={{X-Api-Key: {key}}}"]) for key in ("one-key", "two-key")]
    assert jobs[0] == jobs[1] == tm.load_job("job.yaml")


def test_the_folder_of_the_file_is_where_paths_start(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """And what modules are found in; the working folder does not count."""
    (folder / "reviews").mkdir()
    (folder / "reviews" / "a.jsonl.gz").write_bytes(b"")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        job = tm.load_job(folder / "job.yaml")
        assert list(job.spec.source.parts()) == ["a.jsonl.gz"]
        assert job.spec.folders.output == folder / "out" / "labelled"
