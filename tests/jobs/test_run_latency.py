"""Latency blocks in a run's functions are in its report, wherever these are called; no other run's are."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import work
from rich.console import Console
from workbench import FarSide, ask, make_job, numbered, refuse, run_job, write_records

import tidemill as tm
from tidemill.data.nodes.across import Prefetch
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import FlatMap, Map
from tidemill.data.sources.iterable import FromIterable
from tidemill.jobs.running.report import Report, load_report
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import Status
from tidemill.jobs.window import functions
from tidemill.models.steps.call import Call
from tidemill.view.reports import print_report, print_status


def plain(record: dict[str, Any]) -> dict[str, Any]:
    with tm.latency("outer"), tm.latency("inner"):
        return record


async def later(record: dict[str, Any]) -> dict[str, Any]:
    with tm.latency("outer"):
        await asyncio.sleep(0)
        return await decorated(record)


@tm.latency("inner")
async def decorated(record: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0)
    return record


@tm.latency("outer")
def each(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with tm.latency("inner"):
        yield record


FIRST: dict[str, list[Node]] = {
    "reader": [Map(fn=plain)],
    "prefetch": [Map(fn=plain), Prefetch(count=4)],
    "threads": [Map(fn=plain, on="threads", concurrency=3)],
    "async": [Map(fn=later, concurrency=3)],
    "generator": [FlatMap(fn=each)],
}
SECOND: dict[str, list[Node]] = {
    "loop": [Map(fn=plain)],
    "coroutine": [Map(fn=later)],
    "generator": [FlatMap(fn=each)],
    "call in threads": [Call(fn=plain)],
    "call of a coroutine": [Call(fn=later)],
}
HALVES = {
    **{f"{name}, source half": [*nodes, ask()] for name, nodes in FIRST.items()},
    **{f"{name}, record half": [ask(), *nodes] for name, nodes in SECOND.items()},
}


def counts(report: Report) -> dict[str, tuple[float, float]]:
    """How often each path was counted, and how often it failed."""
    return {path: (found["count"], found["failed"]) for path, found in report.latency.items()}


@pytest.fixture(autouse=True)
def _nothing_outside() -> Iterator[None]:
    """No block of a run is counted in its process."""
    tm.latency.reset()
    yield
    assert tm.latency.to_dict() == {}


@pytest.mark.parametrize("half", HALVES)
async def test_blocks_are_in_the_report_wherever_the_function_is_called(tmp_path: Path, half: str) -> None:
    write_records(tmp_path / "records.jsonl", numbered(3))
    report = await run_job(make_job(tmp_path, HALVES[half]), FarSide())
    assert report.outcome == "finished"
    assert counts(report) == {"outer": (3, 0), "outer/inner": (3, 0)}
    saved = load_report(make_job(tmp_path, HALVES[half]).folders)
    assert saved is not None
    assert saved["latency"] == json.loads(json.dumps(report.latency))


async def test_so_they_are_of_a_slow_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is called in a thread beside the loop."""
    monkeypatch.setattr(functions, "SLOW_S", -1.0)
    write_records(tmp_path / "records.jsonl", numbered(3))
    report = await run_job(make_job(tmp_path, [ask(), Map(fn=plain)]), FarSide())
    assert counts(report) == {"outer": (3, 0), "outer/inner": (3, 0)}


async def test_so_they_are_of_worker_processes(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", numbered(5))
    job = make_job(tmp_path, [Map(fn=work.check_timed, on="processes", concurrency=1), ask()], max_errors=1.0)
    report = await run_job(job, FarSide())
    assert counts(report) == {"outer": (5, 1), "outer/inner": (5, 1)}


async def test_two_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    def named(name: str) -> Callable[[dict[str, Any]], Any]:
        async def work_on(record: dict[str, Any]) -> dict[str, Any]:
            with tm.latency(name):
                await asyncio.sleep(0)
            return record

        return work_on

    jobs = []
    for name in ("one", "two"):
        write_records(tmp_path / name / "records.jsonl", numbered(20))
        jobs.append(make_job(tmp_path / name, [Map(fn=plain, on="threads", concurrency=2), ask(), Map(fn=named(name))]))
    with tm.latency("around"):
        one, two = await asyncio.gather(*(run_job(job, FarSide()) for job in jobs))
    both = {"outer": (20, 0), "outer/inner": (20, 0)}
    assert (counts(one), counts(two)) == ({"one": (20, 0), **both}, {"two": (20, 0), **both})
    assert tm.latency.to_dict()["around"]["count"] == 1
    tm.latency.reset()


@pytest.mark.parametrize("off", ["job", "process"])
async def test_off_nothing_is_timed(tmp_path: Path, off: str) -> None:
    write_records(tmp_path / "records.jsonl", numbered(3))
    job = make_job(tmp_path, [Map(fn=plain, on="threads"), ask(), Map(fn=later)], run={"latency": off != "job"})
    if off == "process":
        tm.latency.off()
    try:
        report = await run_job(job, FarSide())
    finally:
        tm.latency.on()
    assert (report.outcome, report.latency) == ("finished", {})


def test_it_is_turned_off_in_a_job_file_without_another_result(tmp_path: Path) -> None:
    written = "source: {path: records.jsonl}\nsteps:\n  - map: os:fspath\nsink: {path: out}\n"
    (tmp_path / "job.yaml").write_text(written)
    plainly, off = (tm.load_job(tmp_path / "job.yaml", more).spec for more in ((), ("run.latency=false",)))
    assert (plainly.run.latency, off.run.latency) == (True, False)
    assert plainly.fingerprint == off.fingerprint


async def test_a_sitting_reports_its_own_blocks(tmp_path: Path) -> None:
    """What an earlier one timed is in the report of that."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    job = make_job(tmp_path, [ask(), Map(fn=plain)])
    first = await run_job(job, FarSide(), limit=2)
    second = await run_job(job, FarSide())
    assert [counts(each)["outer"] for each in (first, second)] == [(2, 0), (3, 0)]


async def test_a_function_that_fails_its_record_is_told_with_its_block(tmp_path: Path) -> None:
    """A failed call does not reach the step behind it."""

    def fail(record: dict[str, Any]) -> dict[str, Any]:
        with tm.latency("check"):
            if record["id"] == 1:
                raise ValueError("no")
            return record

    write_records(tmp_path / "records.jsonl", numbered(4))
    job = make_job(tmp_path, [ask(), Map(fn=fail)], max_errors=1.0)
    report = await run_job(job, FarSide(refuse("review 3.")))
    assert counts(report) == {"check": (3, 1)}


async def test_it_is_shown_with_the_report_and_while_the_run_goes_on(tmp_path: Path) -> None:
    seen: list[Status] = []
    job, far = make_job(tmp_path, [ask(), Map(fn=plain)], source=FromIterable(iterable=numbered(5))), FarSide()
    report = await Runner(job, transport=far.connect, on_status=seen.append).run()
    rows = [["latency", "count", "failed", "total"], ["outer", "5", "0"], ["outer/inner", "5", "0"]]
    status = json.loads(seen[-1].to_json())
    for told in (report, status):
        console = Console(width=120, color_system=None, record=True, file=io.StringIO(), highlight=False)
        if isinstance(told, Report):
            print_report(console, told)
        else:
            print_status(console, told)
        lines = [line.split() for line in console.export_text().splitlines()]
        first = lines.index(next(line for line in lines if line[:2] == rows[0][:2]))
        assert [line[: len(row)] for line, row in zip(lines[first:], rows, strict=False)] == rows
    console = Console(record=True, file=io.StringIO())
    print_report(console, replace(report, latency={}))
    assert "latency  count" not in console.export_text()
