"""Limits changed while a run goes on: asked for within the rules, taken at once, shown, and gone with the sitting."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, Reply, ask, label, make_job, make_model, numbered, run_job, write_records

from tidemill.calls.limits import Limits
from tidemill.disk import Disk
from tidemill.errors import ConfigError, StateError
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.running.control import Orders, send_stop, send_tuning, take_orders
from tidemill.jobs.running.progress import describe_status
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import RUNNING, Status
from tidemill.jobs.running.tuning import Tuning, check_tuning, find_lanes, label_lanes, parse_tuning
from tidemill.jobs.spec.job import JobSpec
from tidemill.testing import run_virtual


@pytest.mark.parametrize(
    ("settings", "tuning"),
    [
        (["concurrency=20"], Tuning({"concurrency": 20})),
        (['concurrency="20"', " requests_per_minute = 600"], Tuning({"concurrency": 20, "requests_per_minute": 600})),
        (["concurrency=auto"], Tuning({"concurrency": "auto"})),
        (["requests_per_minute=null", "model=openai/any"], Tuning({"requests_per_minute": None}, "openai/any")),
    ],
)
def test_what_is_asked_for_is_read_as_a_job_file_would(settings: list[str], tuning: Tuning) -> None:
    assert parse_tuning(settings) == check_tuning(tuning.to_dict()) == tuning


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["concurency=20"], "unknown key `concurency`; did you mean `concurrency`?"),
        (["concurrency=0"], "`concurrency`: expected a number of calls from 1 to 10,000, or `auto`, got 0"),
        (["concurrency=many"], '`auto` or a mapping of min, start and max, got "many"'),
        (["concurrency=null"], "`concurrency`: expected a number of calls"),
        (["requests_per_minute=1.5"], "`requests_per_minute`: expected an integer"),
        (["deadline_s=9"], "`deadline_s` cannot be changed while a run goes on; stop it and set limits.deadline_s"),
        (["concurrency"], "expected KEY=VALUE, as `concurrency=20`, got `concurrency`"),
        (["concurrency=[1"], "expected KEY=VALUE"),
        (["concurrency=1", "concurrency=2"], "`concurrency` is given twice"),
        (["model=openai/any"], "nothing to change; give `concurrency`, `requests_per_minute`"),
        (["model=3", "concurrency=3"], "expected `model` to be a model's name"),
    ],
)
def test_what_cannot_be_asked_for_is_told_with_the_mend(settings: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_tuning(settings)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_tuning(["concurrency=0", "requests=9", "max_attempts=3"])
    assert len(raised.value.problems) == 3


def test_lanes_are_called_as_their_user_calls_them() -> None:
    """A model by its name, a step without one by its own; two models of one name by their keys."""
    keys = ["openai/a#0", "openai/b#1", "openai/b#2", "call lookup"]
    assert list(label_lanes(keys).values()) == ["openai/a", "openai/b#1", "openai/b#2", "lookup"]
    assert find_lanes(keys, None) == keys
    assert find_lanes(keys, "openai/b") == ["openai/b#1", "openai/b#2"]
    assert find_lanes(keys, "openai/b#2") == ["openai/b#2"]
    assert find_lanes(keys, "lookup") == ["call lookup"]
    with pytest.raises(ConfigError, match="no step of this job calls anything"):
        find_lanes([], None)


# a live run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_records(tmp_path / "records.jsonl", numbered(60))
    return tmp_path


class Tuned(FarSide):
    """A far side of a run that is asked something, once, while its calls wait for answers."""

    def __init__(self, job: JobSpec, order: Callable[[RunFolder], object]) -> None:
        super().__init__(self.wait, latency_s=0.02)
        self.job = job
        self.order: Callable[[RunFolder], object] | None = order
        self.statuses: list[Status] = []
        self.notes: list[str] = []

    def wait(self, question: str) -> Reply | None:
        """Once the run has said that it runs, ask it; and answer slowly until it has looked."""
        if self.order is not None and self.job.folders.status.exists():
            self.order(self.job.folders)
            self.order = None
        for transport in self.transports:
            transport.latency_s = 0.02 if self.order is None and not self.job.folders.control.exists() else 0.3
        return None

    def run(self) -> Report:
        """The run's report, in virtual time."""
        runner = Runner(self.job, transport=self.connect, on_status=self.statuses.append, on_note=self.notes.append)
        return run_virtual(runner.run())


def slow_job(folder: Path, **limits: Any) -> JobSpec:
    model = make_model(limits=Limits(**{"concurrency": 2, **limits}))
    return make_job(folder, [label(model=model)])


def test_a_running_run_takes_a_higher_concurrency(folder: Path) -> None:
    """Within a second, and more of its records are worked on at once; status, notes and report say so."""
    job = slow_job(folder)
    far = Tuned(job, lambda run: send_tuning(run, parse_tuning(["concurrency=16"])))
    report = far.run()
    assert (report.outcome, far.max_in_flight) == ("finished", 16)
    assert far.notes == ["openai/any goes on with concurrency=16, as `tidemill tune` asked"]
    (tuned,) = report.tuned
    assert (tuned["model"], tuned["concurrency"]) == ("openai/any", 16)
    assert json.loads(job.folders.report.read_bytes())["tuned"] == [tuned]
    shown = [status.limits["openai/any"]["concurrency"] for status in far.statuses]
    assert (shown[0], shown[-1]) == (2, 16)
    line = describe_status(far.statuses[-1])
    assert "openai/any tuned to concurrency=16, concurrency_now=16" in line
    assert "tuned" not in describe_status(far.statuses[0])


def test_a_restart_takes_the_job_s_own_limits(folder: Path) -> None:
    job = slow_job(folder)

    def order(run: RunFolder) -> None:
        send_tuning(run, Tuning({"concurrency": 16}))
        send_stop(run)

    far = Tuned(job, order)
    assert far.run().outcome == "stopped"
    far.transports.clear()
    report = run_virtual(run_job(job, far))
    assert (report.outcome, far.max_in_flight, report.tuned) == ("finished", 2, [])


def test_a_running_run_takes_a_lower_concurrency(folder: Path) -> None:
    """What is in flight ends; from then on no more than that are."""
    job = slow_job(folder, concurrency=8)
    far = Tuned(job, lambda run: send_tuning(run, Tuning({"concurrency": 1})))
    report = far.run()
    assert (report.outcome, far.max_in_flight) == ("finished", 8)
    assert far.statuses[-1].limits["openai/any"]["concurrency"] == 1


def test_one_model_of_two_is_tuned(folder: Path) -> None:
    """The other keeps its own limits."""
    other = make_model(limits=Limits(concurrency=3)).model_copy(update={"model": "openai/other"})
    steps = [label(model=make_model(limits=Limits(concurrency=2))), ask("Again: {{ text }}", into="b", model=other)]
    job = make_job(folder, steps)
    far = Tuned(job, lambda run: send_tuning(run, Tuning({"requests_per_minute": 9_000}, "openai/other")))
    report = far.run()
    shown = far.statuses[-1].limits
    assert shown["openai/any"] == {"concurrency": 2, "concurrency_now": 2}
    assert shown["openai/other"] == {"concurrency": 3, "requests_per_minute": 9_000, "concurrency_now": 3}
    assert [entry["model"] for entry in report.tuned] == ["openai/other"]


def test_wrong_content_is_logged_and_changes_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Written by hand, with a slip of the pen: the run goes on as it was."""
    job = slow_job(folder)
    tunes: list[Any] = [{"concurrency": 0}, {"concurency": 9}, 7, {"model": "openai/none", "concurrency": 9}]
    far = Tuned(job, lambda run: run.control.write_text(json.dumps({"tune": tunes})))
    with caplog.at_level(logging.WARNING):
        report = far.run()
    assert (report.outcome, far.max_in_flight, report.tuned, far.notes) == ("finished", 2, [], [])
    text = caplog.text
    for said in (
        "from 1 to 10,000",
        "did you mean `concurrency`?",
        "`tune` cannot be 7",
        "no model of this job is called",
    ):
        assert said in text


# what is sent


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunFolder]:
    """A run folder that says a run goes on in it, its ledger held."""
    folder = RunFolder(tmp_path / "out", tmp_path / "out/.run")
    folder.run.mkdir(parents=True)
    limits = {"openai/any": {"concurrency": 2}, "lookup": {"concurrency": 4}}
    status = Status(RUNNING, {}, 0, 0, None, 0, 0, 0, 0, 0, 0.0, 1.0, limits=limits)
    with open_ledger(folder.ledger, Disk()):
        folder.status.write_bytes(status.to_json())
        yield folder


def test_what_waits_is_not_lost_to_what_is_asked_next(running: RunFolder) -> None:
    """Two tunings and a stop within a second are one file."""
    send_tuning(running, Tuning({"concurrency": 9}))
    send_tuning(running, Tuning({"requests_per_minute": 60}, "lookup"))
    send_stop(running)
    send_stop(running, now=True)
    both = (Tuning({"concurrency": 9}), Tuning({"requests_per_minute": 60}, "lookup"))
    assert take_orders(running) == Orders(2, both)
    assert take_orders(running) == Orders()
    assert [path.name for path in running.run.iterdir() if path.name.startswith("control")] == []


def test_a_garbled_file_is_replaced(running: RunFolder) -> None:
    running.control.write_text("{tune")
    send_tuning(running, Tuning({"concurrency": 9}))
    assert take_orders(running).tunings == (Tuning({"concurrency": 9}),)


def test_one_mapping_stands_for_a_list_of_one(running: RunFolder) -> None:
    """As a user writes it by hand."""
    running.control.write_text('{"tune": {"concurrency": 9}}')
    assert take_orders(running).tunings == (Tuning({"concurrency": 9}),)


def test_a_model_that_the_run_has_not_is_told_before_anything_is_written(running: RunFolder) -> None:
    with pytest.raises(ConfigError, match="no model of this job is called `openai/ani`\n  did you mean `openai/any`"):
        send_tuning(running, Tuning({"concurrency": 9}, "openai/ani"))
    assert not running.control.exists()


def test_a_model_may_be_named_as_the_job_file_names_it(running: RunFolder, tmp_path: Path) -> None:
    """`models: {fast: {model: openai/any}}` makes `fast` another word for it."""
    (tmp_path / "job.yaml").write_text("models: {fast: {model: openai/any}, slow: 3}")
    running.info.write_text(json.dumps({"job_file": str(tmp_path / "job.yaml")}))
    send_tuning(running, Tuning({"concurrency": 9}, "fast"))
    assert take_orders(running).tunings == (Tuning({"concurrency": 9}, "openai/any"),)
    with pytest.raises(ConfigError, match="no model of this job is called `slow`"):
        send_tuning(running, Tuning({"concurrency": 9}, "slow"))


async def test_a_run_at_rest_cannot_be_tuned(folder: Path) -> None:
    job = slow_job(folder)
    assert (await run_job(job, FarSide())).outcome == "finished"
    with pytest.raises(StateError, match="no process is running here, there is nothing to tune"):
        send_tuning(job.folders, Tuning({"concurrency": 9}))
    assert not job.folders.control.exists()
