"""The README is true: its Python runs, its job file is that job, its commands and excerpts are what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from conftest import Command
from tidemill.config.types.functions import import_object
from tidemill.jobs.running.report import Report
from tidemill.testing import FaultServer

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
    assert capsys.readouterr().out.splitlines()[-1].startswith(str(report.records["landed"]))


def test_the_paid_job_runs_as_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against a fault server in the place of the paid model."""
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    with FaultServer() as server:
        source = block("python", "paid = ").replace('4.1-mini",', f'4.1-mini", base_url="{server.base_url}",')
        names: dict[str, Any] = {"__name__": "readme", "tm": tm}
        exec(compile(source, "README.md", "exec", dont_inherit=True), names)  # noqa: S102 - the README's own code
        assert server.billed == 3
    assert names["report"].calls["usd"] > 0
    assert isinstance(names["pipe"], tm.Pipeline)
    assert capsys.readouterr().out.startswith("finished 2 ")


def test_the_stream_goes_on_as_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The words of the first record and of those after the state are those of all; the dataset has every line."""
    code = compile(block("python", "records.state()"), "README.md", "exec", dont_inherit=True)
    exec(code, {"__name__": "readme"})  # noqa: S102 - the README's own code
    words = sum(len(text.split()) for text in REVIEWS)
    assert capsys.readouterr().out.splitlines() == [str(words), f"{len(REVIEWS)} {REVIEWS[-1]}"]


@pytest.mark.usefixtures("lance_opened_once")
def test_the_store_is_searched_as_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = compile(block("python", "library = LanceDB"), "README.md", "exec", dont_inherit=True)
    exec(code, {"__name__": "readme"})  # noqa: S102 - the README's own code
    assert capsys.readouterr().out == block("text", "['moby']")


def test_the_model_is_put_back_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code = block("python", "InferenceProfiler")
    exec(compile(code, "README.md", "exec", dont_inherit=True), {"__name__": "readme"})  # noqa: S102 - as above
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)


def test_the_commands_run_in_order(folder: Path, tidemill_command: Command) -> None:
    """Those that call get a fault server in the place of the embedded model; the longer job has a step more."""
    text = (folder / "job.yaml").read_text()
    step = '  - generate: {model: fast, prompt: "{{ label.topic }}", into: note, max_tokens: 8}\n'
    (folder / "longer.yaml").write_text(
        text.replace("out/labelled", "out/longer").replace("max_errors", f"{step}max_errors")
    )
    lines = [line.partition("#")[0].split() for line in block("console", "tidemill try").splitlines()]
    with FaultServer() as server:
        for dollar, program, command, *arguments in lines:
            assert (dollar, program) == ("$", "tidemill")
            takes_values = command in ("check", "try", "run", "retry")
            given = ["--set", f"models.fast.base_url={server.base_url}"] if takes_values else []
            done = tidemill_command(command, *arguments, *given)
            assert done.code == 0, done.err
        assert server.billed == 2 + 3 + 3, "two tried records, two and one more run, and the step more of each"


def test_the_report_of_check_is_what_it_prints(folder: Path, tidemill_command: Command) -> None:
    """For the job file with three words mistyped."""
    text = (folder / "job.yaml").read_text()
    for word, typo in (("models:", "modles:"), ("has_text", "has_txt"), ("{{ text }}", "{{ txt }}")):
        assert word in text
        text = text.replace(word, typo)
    (folder / "job.yaml").write_text(text)
    done = tidemill_command("check", "job.yaml")
    assert done.code == 2
    assert block("console", "modles").partition("\n")[2] == done.err


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
