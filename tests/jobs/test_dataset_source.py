"""A job file whose source is a dataset is the job that a chain over `tm.dataset(…)` is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner
from workbench import FarSide, ask, ids, make_job, make_model, numbered, run_job, write_records

import tidemill as tm
from tidemill.commands import app
from tidemill.data.nodes.across import Shuffle
from tidemill.data.sources.row_files import RowFiles
from tidemill.errors import ConfigError, DataError, StateError
from tidemill.jobs.running.lineage import trace_lineage
from tidemill.jobs.spec.file import load_job_file
from tidemill.jobs.spec.job import JobSpec

JOB = """\
source: {dataset: out}
steps:
  - generate: {model: any, prompt: "Again: {{ text }}", max_tokens: 64}
models:
  any:
    model: openai/any
    base_url: "http://far.invalid/v1"
    api_key: none
    limits: {concurrency: 8, max_attempts: 1}
    price: {input: 0.15, output: 0.6}
sink: {path: again, format: jsonl, segment: {records: 10}}
"""


async def land(folder: Path, count: int) -> str:
    """The job that the others read, over so many records; gives the version that it comes to rest at."""
    write_records(folder / "records.jsonl", numbered(count))
    job = make_job(folder, [ask()])
    await run_job(job, FarSide())
    return tm.dataset(job.folders.output).version


def write_job(folder: Path, text: str = JOB) -> Path:
    path = folder / "again.yaml"
    path.write_text(text)
    return path


def load(folder: Path, text: str = JOB) -> JobSpec:
    """The job of a file, read anew as each command does."""
    return load_job_file(write_job(folder, text))


def pin(version: str) -> str:
    return JOB.replace("dataset: out", f"dataset: out@{version[:12]}")


async def test_the_file_and_the_chain_are_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal fingerprints, and each is written as the other."""
    version = await land(tmp_path, 5)
    monkeypatch.chdir(tmp_path)
    for text, name in ((JOB, "out"), (pin(version), f"out@{version[:12]}")):
        job = tm.load_job(write_job(tmp_path, text))
        chain = tm.dataset(name).generate(make_model(), prompt="Again: {{ text }}", max_tokens=64)
        assert yaml.safe_load(job.to_yaml())["source"] == {"dataset": name}
        assert tm.load_job(write_job(tmp_path, job.to_yaml())) == job
        written = chain.job("again", format="jsonl").to_yaml()
        assert yaml.safe_load(written)["source"] == {"dataset": name}
        assert tm.load_job(write_job(tmp_path, written)).fingerprint == job.fingerprint


async def test_a_relative_one_starts_at_the_job_file_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await land(tmp_path, 5)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_job(tmp_path)
    monkeypatch.chdir(elsewhere)
    job = load_job_file(Path("../again.yaml"))
    await run_job(job, FarSide())
    assert ids(job) == [0, 1, 2, 3, 4]
    (parent,) = trace_lineage(tmp_path / "again").parents
    assert parent.dataset == str(tmp_path / "out")
    told = CliRunner().invoke(app, ["lineage", "../again.yaml", "--json"], catch_exceptions=False)
    assert [each["hash"] for each in json.loads(told.stdout)["parents"]] == [parent.hash]


async def test_an_output_that_went_on_is_continued(tmp_path: Path) -> None:
    """Only what landed since is asked, and the version that was read now is the parent."""
    await land(tmp_path, 15)
    far = FarSide()
    await run_job(load(tmp_path), far, limit=12)
    await run_job(load(tmp_path), far)
    far.forget()
    latest = await land(tmp_path, 34)
    report = await run_job(load(tmp_path), far)
    assert report.outcome == "finished"
    assert far.questions == [f"Again: review {number}." for number in range(15, 34)]
    assert ids(load(tmp_path)) == list(range(34))
    assert [parent.hash for parent in trace_lineage(tmp_path / "again").parents] == [latest]


async def test_one_that_went_on_while_it_was_read_is_continued(tmp_path: Path) -> None:
    """A run that stopped in the middle goes on in the middle, to the end that there is now."""
    await land(tmp_path, 15)
    far = FarSide()
    await run_job(load(tmp_path), far, limit=12)
    await land(tmp_path, 31)
    await run_job(load(tmp_path), far)
    assert len(far.billed) == 31
    assert ids(load(tmp_path)) == list(range(31))


async def test_a_job_reads_what_is_there_when_it_runs(tmp_path: Path) -> None:
    """One object, checked before the other job ran and run behind it; a dataset that it joins with, too."""
    await land(tmp_path, 5)
    text = "source: {dataset: out}\nsteps: [{join: {other: {dataset: out}, on: id, how: semi}}]\nsink: {path: both}\n"
    job = tm.load_job(write_job(tmp_path, text))
    for count in (12, 31):
        job.check()
        latest = await land(tmp_path, count)
        assert job.run(fresh=True, progress=False).records["landed"] == count
        assert [parent.hash for parent in trace_lineage(tmp_path / "both").parents] == [latest]


async def test_an_empty_output_that_went_on_is_continued(tmp_path: Path) -> None:
    """Its version without a part is in front of every other."""
    await land(tmp_path, 0)
    await run_job(load(tmp_path), FarSide())
    await land(tmp_path, 3)
    await run_job(load(tmp_path), FarSide())
    assert ids(load(tmp_path)) == [0, 1, 2]


async def test_a_pinned_version_does_not_go_on(tmp_path: Path) -> None:
    text = pin(await land(tmp_path, 5))
    await run_job(load(tmp_path, text), FarSide())
    await land(tmp_path, 9)
    far = FarSide()
    await run_job(load(tmp_path, text), far)
    assert (far.billed, ids(load(tmp_path, text))) == ([], [0, 1, 2, 3, 4])


async def test_a_chain_over_an_output_that_went_on_is_continued(tmp_path: Path) -> None:
    """The dataset that is opened anew has more records, and is the same source."""
    for count in (5, 12):
        await land(tmp_path, count)
        report = tm.dataset(tmp_path / "out").map(dict).write(tmp_path / "copy")
        assert report.records["landed"] == count


async def test_an_output_made_anew_is_refused(tmp_path: Path) -> None:
    await land(tmp_path, 5)
    await run_job(load(tmp_path), FarSide())
    await run_job(make_job(tmp_path, [ask()]), FarSide(lambda question: None), fresh=True, limit=3)
    with pytest.raises(StateError, match="the source changed since this run began:\n    rows: edited before the point"):
        await run_job(load(tmp_path), FarSide())


async def test_one_that_went_on_behind_a_step_across_records_is_refused(tmp_path: Path) -> None:
    """In another order than the one that was read, and told as what it is."""
    await land(tmp_path, 5)

    def make() -> JobSpec:
        return make_job(
            tmp_path, [Shuffle(seed=1), ask()], source=RowFiles(dataset=str(tmp_path / "out")), sink={"path": "again"}
        )

    await run_job(make(), FarSide(), limit=3)
    await land(tmp_path, 12)
    with pytest.raises(StateError, match="rows: grew, and a step before the first call looks across records"):
        await run_job(make(), FarSide())


async def test_the_sample_of_checks_and_estimates_is_of_the_output(tmp_path: Path) -> None:
    await land(tmp_path, 5)
    write_job(tmp_path)
    estimate = tm.load_job(tmp_path / "again.yaml").estimate()
    assert estimate.records == 5
    with pytest.raises(ConfigError, match=r"again.yaml:3:47\s+.*no record has a column `txt`; did you mean `text`\?"):
        tm.load_job(write_job(tmp_path, JOB.replace("{{ text }}", "{{ txt }}"))).check()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "{dataset: none}",
            r"again.yaml:1:9\s+`source`: expected a folder or a file, got `.*/none`, where there is nothing",
        ),
        (
            "{dataset: out@0000}",
            r"again.yaml:1:9\s+`source`: .*expected one version that begins with 0000, found none; there are ",
        ),
        ("{dataset: sub}", r"again.yaml:1:9\s+`source`: no _manifest.json and no file of a known format in the folder"),
        (
            "{dataset: out, format: jsonl}",
            r"again.yaml:1:24\s+unknown key `format`; known: `dataset`, `storage_options`",
        ),
        ("{dataste: out}", r"again.yaml:1:10\s+unknown key `dataste`; did you mean `dataset`\?"),
        (
            "{dataset: [out]}",
            r"again.yaml:1:19\s+`source.dataset`: expected text of at least 1 character, got a list of 1",
        ),
    ],
)
async def test_what_is_not_there_is_told_in_its_place(tmp_path: Path, source: str, told: str) -> None:
    await land(tmp_path, 3)
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match=told):
        tm.load_job(write_job(tmp_path, JOB.replace("{dataset: out}", source))).check()


async def test_what_is_gone_stops_no_look_at_the_run(tmp_path: Path) -> None:
    """A job file says where its run is, whatever became of what it read."""
    await land(tmp_path, 3)
    await run_job(load(tmp_path), FarSide())
    (tmp_path / "out").rename(tmp_path / "moved")
    assert ids(load(tmp_path)) == [0, 1, 2]
    with pytest.raises(DataError, match="where there is nothing"):
        await run_job(load(tmp_path), FarSide())


async def test_a_sink_among_what_is_read_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "data" / "a.jsonl", numbered(3))
    text = JOB.replace("dataset: out", "dataset: data").replace("path: again", "path: data")
    with pytest.raises(ConfigError, match="the source would read what the sink writes into"):
        tm.load_job(write_job(tmp_path, text)).check()


async def test_steps_by_number_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a chain chooses and orders by number, a file does, and lands the same."""
    await land(tmp_path, 40)
    monkeypatch.chdir(tmp_path)
    chain = tm.dataset("out").shuffle(seed=3)[4:30:2][[5, 0, -1, 0]]
    job = chain.job("chosen", format="jsonl")
    assert yaml.safe_load(job.to_yaml())["steps"] == [
        {"shuffle": {"seed": 3, "buffer": None}},
        {"slice": {"start": 4, "stop": 30, "step": 2}},
        {"pick": [5, 0, 12, 0]},
    ]
    written = tm.load_job(write_job(tmp_path, job.to_yaml()))
    assert written.fingerprint == job.fingerprint
    assert written.run(progress=False).outcome == "finished"
    assert list(tm.dataset("chosen")) == list(chain)


STEPS = "source: {dataset: data}\nsteps: [%s]\nsink: {path: chosen}\n"


def test_a_check_knows_all_numbers_of_a_dataset(tmp_path: Path) -> None:
    """Also those behind the records that it reads of any source."""
    write_records(tmp_path / "data" / "a.jsonl", numbered(3_000))
    tm.load_job(write_job(tmp_path, STEPS % "{pick: [2999, -3000]}")).check()
    steps = "{map: builtins:dict}, {slice: {start: -5}}, {call: builtins:dict}"
    assert tm.load_job(write_job(tmp_path, STEPS % steps)).estimate().records == 5
    told = (
        r"again.yaml:2:16\s+`steps.0.pick`: a step picks what is not there: index 3000 is out of range: there are 3,000"
    )
    with pytest.raises(ConfigError, match=told):
        tm.load_job(write_job(tmp_path, STEPS % "{pick: [3000]}")).check()


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{slice: {step: 0}}", "`steps.0.slice.step`: expected a whole number other than 0, got 0"),
        (
            "{filter: builtins:any}, {slice: {stop: 3}}",
            r"`steps.1.slice` needs records with numbers, and these have none",
        ),
        ("{pick: [x]}", '`steps.0.pick.0`: expected an integer, got "x"'),
    ],
)
def test_a_step_by_number_that_cannot_be_is_told(tmp_path: Path, step: str, told: str) -> None:
    write_records(tmp_path / "data" / "a.jsonl", numbered(3))
    with pytest.raises(ConfigError, match=told):
        tm.load_job(write_job(tmp_path, STEPS % step)).check()


async def test_a_job_file_joins_with_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the chain does, and the output joined with is a parent, too."""
    version = await land(tmp_path, 4)
    write_records(tmp_path / "asked.jsonl", [{"id": 1}, {"id": 3}, {"id": 9}])
    monkeypatch.chdir(tmp_path)
    text = """\
source: {path: asked.jsonl}
steps: [{join: {other: {dataset: out}, on: id, how: inner}}]
sink: {path: both}
"""
    job = tm.load_job(write_job(tmp_path, text))
    chain = tm.read("asked.jsonl").join(tm.dataset("out"), on="id", how="inner")
    assert yaml.safe_load(chain.job("both").to_yaml())["steps"] == [
        {"join": {"other": {"dataset": "out"}, "on": {"id": "id"}}}
    ]
    assert chain.job("both").fingerprint == job.fingerprint
    assert job.run(progress=False).outcome == "finished"
    assert [record["text"] for record in tm.dataset("both")] == ["review 1.", "review 3."]
    assert [parent.hash for parent in trace_lineage("both").parents] == [version]


async def test_a_state_goes_on_behind_what_was_added(tmp_path: Path) -> None:
    """Of a plain iteration, as of files that were appended to."""
    await land(tmp_path, 15)
    records = tm.dataset(tmp_path / "out").iterate()
    assert [next(records)["id"] for _ in range(12)] == list(range(12))
    state = records.state()
    await land(tmp_path, 31)
    went_on = tm.dataset(tmp_path / "out").iterate(state)
    assert [record["id"] for record in went_on] == list(range(12, 31))
