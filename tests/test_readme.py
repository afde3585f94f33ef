"""The README is true: its Python runs, its job file is that job, its commands exist, its transcript comes from the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import tidemill as tm
from tidemill.config.functions import import_object
from tidemill.jobs.report import Report

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REVIEWS = ("The battery lasts for days.", "", "It broke after an hour.", "A bright screen and a fair price.")


def block(language: str, start: str) -> str:
    """The fenced block in `language` that contains `start`."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if start in text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the records and modules that the README's job names."""
    (tmp_path / "reviews.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in REVIEWS))
    source = block("python", "class Label")
    schema = source[: source.index("def has_text")]
    (tmp_path / "my_schemas.py").write_text(schema)
    steps = source[source.index("def has_text") : source.index("fast =")]
    (tmp_path / "my_steps.py").write_text(steps)
    (tmp_path / "job.yaml").write_text(block("yaml", "# job.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_job_runs_as_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real embedded model: every review with text lands, or is told of."""
    names: dict[str, object] = {"__name__": "readme"}
    code = compile(block("python", "class Label"), "README.md", "exec", dont_inherit=True)
    exec(code, names)  # noqa: S102 - the README's own code
    report = names["report"]
    assert isinstance(report, Report)
    assert report.outcome == "finished"
    assert report.records["dropped"] == 1
    assert report.records["landed"] + report.records["quarantined"] == 3
    assert capsys.readouterr().out.startswith(str(report.records["landed"]))


def test_the_job_file_is_the_same_job(folder: Path) -> None:
    """The chain and the file hold equal steps, up to where the schema's and the function's source stand."""
    job = tm.load_job("job.yaml")
    job.check()
    label, has_text = import_object("my_schemas:Label"), import_object("my_steps:has_text")
    chain = (
        tm.read("reviews.jsonl")
        .filter(has_text)
        .generate("local/smollm2", "Label this review: {{ text }}", output=label, into="label", max_tokens=64)
    )
    assert job.pipeline == chain.pipeline
    assert job.fingerprint == chain.job("out/labelled").fingerprint


def test_the_transcript_has_the_shape_the_example_prints() -> None:
    """Each line of the transcript is one the example prints, figures apart."""
    example = (ROOT / "examples" / "kill_and_resume.py").read_text()
    lines = block("console", "kill_and_resume").splitlines()[1:]
    assert len(lines) == 5
    for line in lines:
        words = re.sub(r"[\d,]+", "0", line)
        printed = [re.sub(r"\{[^}]*\}|[\d,]+", "0", text) for text in re.findall(r'print\(f?"(.*?)"\)', example)]
        assert words in printed
