"""Every kind of call keeps the promise: a run that ends anywhere goes on, and makes no committed call again."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_crash_points import Expected, telling
from workbench import (
    ONCE,
    FarSide,
    ask,
    check_folders,
    describe_failed,
    label,
    make_job,
    make_model,
    numbered,
    read_committed,
    read_failed,
    read_output,
    run_job,
    write_records,
)

from tidemill.calls.limits import Limits
from tidemill.calls.wire import Response
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import FlatMap
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.embed import Embed
from tidemill.testing import CrashDisk, error_response

CALLED: list[str] = []
"""The digests of the calls that the functions below answered."""

MISSING: set[int] = set()
"""The records that `look_up` does not find."""


@pytest.fixture(autouse=True)
def outside() -> Iterator[None]:
    """What is outside of the run, as each test finds it."""
    CALLED.clear()
    MISSING.add(7)
    yield
    MISSING.clear()


def note(record: dict[str, Any]) -> None:
    CALLED.append(hashlib.blake2b(orjson.dumps(record, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest())


async def look_up(record: dict[str, Any], key: str) -> Any:
    await asyncio.sleep(0.001)
    if record["id"] in MISSING:
        raise LookupError("it is not there")
    note(record)
    return {"key": key, "found": [record["id"], None]}


def measure(record: dict[str, Any]) -> Any:
    note(record)
    return {"length": len(record["text"])}


async def keep(record: dict[str, Any]) -> Any:
    await asyncio.sleep(0.001)
    note(record)
    return record["id"]


def halve(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "half": half} for half in range(record["id"] % 3)]


FEW = Limits(concurrency=8, max_attempts=1)

measured = {"call": {"fn": measure, "columns": ["text"], "limits": FEW}}

STEPS: dict[str, Callable[[], Sequence[Node]]] = {
    "a coroutine function": lambda: [Call(fn=look_up, into="hit", limits=FEW)],
    "a plain function, of some columns": lambda: [Call(fn=measure, columns=("text",), limits=FEW)],
    "vectors": lambda: [Embed(model=make_model(), column="text", batch_size=4)],
    # None of its branches fails: how far the others came by then would be a matter of time.
    "several at once": lambda: [
        Gather(branches={"note": ask("Note {{ id }}", n=2), "hit": Call(fn=keep, limits=FEW), "size": measured})
    ],
    "several samples": lambda: [label(n=3, seed=5), FlatMap(fn=halve), ask("Side {{ half }} of {{ text }}", n=2)],
    "all of them": lambda: [
        Call(fn=look_up, into="hit", limits=FEW),
        FlatMap(fn=halve),
        Embed(model=make_model(), text="{{ text }} {{ half }}", batch_size=3),
        ask("About {{ text }}"),
        Call(fn=measure, limits=FEW),
    ],
}


def script(question: str) -> Response | None:
    return error_response(400, "no") if "review 4." in question else None


def job_in(folder: Path, source: Path, kind: str) -> JobSpec:
    return make_job(folder, STEPS[kind](), source=str(source), max_errors=20)


@pytest.mark.parametrize("kind", STEPS)
async def test_every_operation_of_a_run(tmp_path: Path, kind: str) -> None:
    """Before, half through and after each durable operation: the same rows in order, no committed call made again."""
    source = write_records(tmp_path / "records.jsonl", numbered(24))
    far = FarSide(script, latency_s=0.001)

    def count() -> Counter[str]:
        return Counter([*far.billed, *CALLED])

    def forget() -> None:
        far.forget()
        CALLED.clear()

    forget()
    whole = job_in(tmp_path / "whole", source, kind)
    report = await run_job(whole, far)
    failed = describe_failed(read_failed(whole.folders))
    expected = Expected(report, read_output(whole.folders), failed, count())
    assert expected.rows
    watched = tmp_path / "watched"
    watched.mkdir()
    disk = CrashDisk(watched, tmp_path / "snapshots", observe=count)
    forget()
    await run_job(job_in(watched, source, kind), far, disk)
    in_flight = 4 * ONCE.slots * len(whole.steps)  # a request for vectors has four texts, a step at most four lanes
    for snapshot in disk.distinct_snapshots[::3]:
        job = job_in(snapshot.folder, source, kind)
        committed = read_committed(job.folders)
        assert (snapshot.seen - committed).total() <= in_flight, snapshot
        forget()
        with telling(snapshot):
            expected.check(await run_job(job, far), job, count() + committed)
    check_folders(whole.folders)


@pytest.mark.parametrize("kind", ["a coroutine function", "vectors", "several samples", "all of them"])
async def test_a_retry_makes_the_failed_step_s_calls_only(tmp_path: Path, kind: str) -> None:
    """Once what was wrong is mended, the records land, and nothing else is paid again."""
    source = write_records(tmp_path / "records.jsonl", numbered(24))
    far = FarSide(script)
    job = job_in(tmp_path, source, kind)
    failed = (await run_job(job, far)).records["quarantined"]
    assert failed == (2 if kind == "all of them" else 1)
    done = Counter([*far.billed, *CALLED])
    far.script = lambda question: None
    MISSING.clear()
    report = await run_job(job, far, retry=True)
    assert report.records["quarantined"] == 0
    anew = Counter([*far.billed, *CALLED]) - done
    assert anew
    assert not anew.keys() & done.keys()
    check_folders(job.folders)


@pytest.mark.parametrize("kind", STEPS)
async def test_a_new_run_reuses_every_reply_that_still_fits(tmp_path: Path, kind: str) -> None:
    """Values, vectors and samples alike: the same output, and no call but those that failed."""
    source = write_records(tmp_path / "records.jsonl", numbered(24))
    far = FarSide(script)
    old = job_in(tmp_path / "old", source, kind)
    first = await run_job(old, far)
    far.forget()
    CALLED.clear()
    new = job_in(tmp_path / "new", source, kind)
    report = await run_job(new, far, reuse=str(old.folders.output))
    assert report.reused > 0
    assert report.records == first.records
    assert read_output(new.folders) == read_output(old.folders)
    assert len(far.billed) <= 2 * first.records["quarantined"]  # the good samples of records that failed
    assert CALLED == []


async def test_the_key_of_a_call_is_its_own_and_stays(tmp_path: Path) -> None:
    """32 hex digits: another for every call, the same whenever the same call is made again."""
    source = write_records(tmp_path / "records.jsonl", numbered(12))
    far, found = FarSide(), []
    for name in ("one", "two"):
        job = job_in(tmp_path / name, source, "a coroutine function")
        await run_job(job, far)
        found.append([row["hit"]["key"] for row in read_output(job.folders)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 11
    assert {len(key) for key in found[0]} == {32}
