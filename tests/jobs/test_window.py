"""The window: how far reading runs ahead, what goes on side by side, and the order in which it comes out."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from workbench import (
    FarSide,
    ask,
    label,
    make_job,
    make_model,
    numbered,
    read_output,
    run_job,
    write_records,
)

from tidemill.calls.limits import Limits
from tidemill.calls.wire import Request, Response
from tidemill.data.nodes.single import FlatMap, Map
from tidemill.data.sources.iterable import FromIterable
from tidemill.errors import StateError
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.running.runner import Runner
from tidemill.testing import chat_response

Waiting = list[tuple[str, asyncio.Future[None]]]


class Gate:
    """A far side whose answers wait: `choose` says which of those that wait are given, asked after every change."""

    def __init__(self, choose: Callable[[Waiting], Waiting]) -> None:
        self.waiting: Waiting = []
        self.most = 0
        self.order: list[str] = []
        self._choose = choose

    async def send(self, request: Request, timeout_s: float) -> Response:
        question = json.loads(request.body)["messages"][-1]["content"]
        self.order.append(question)
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((question, future))
        self.most = max(self.most, len(self.waiting))
        asyncio.get_running_loop().call_soon(self._open)
        await future
        return chat_response(f"reply to {question}")

    def _open(self) -> None:
        for entry in self._choose(list(self.waiting)):
            self.waiting.remove(entry)
            entry[1].set_result(None)
            asyncio.get_running_loop().call_soon(self._open)

    async def close(self) -> None:
        """Nothing is open."""


def counting(records: list[dict[str, Any]], read: list[int]) -> FromIterable:
    """A source that notes what was asked of it."""

    def items() -> Iterator[dict[str, Any]]:
        for record in records:
            read.append(record["id"])
            yield record

    return FromIterable(iterable=items)


@pytest.mark.parametrize("last_first", [True, False])
async def test_output_is_in_source_order(tmp_path: Path, last_first: bool) -> None:
    """Whatever order calls end in; all slots are in use."""
    write_records(tmp_path / "records.jsonl", numbered(100))

    def choose(waiting: Waiting) -> Waiting:
        is_time = len(waiting) == 8 or len(gate.order) == 100
        return waiting[:: -1 if last_first else 1][:1] if is_time else []

    gate = Gate(choose)
    job = make_job(tmp_path, [ask("{{ text }}")])
    await Runner(job, transport=lambda: gate).run()
    rows = read_output(job.folders)
    assert [row["id"] for row in rows] == list(range(100))
    assert all(row["reply"] == f"reply to {row['text']}" for row in rows)
    assert gate.most == 8


class Straggler(Gate):
    """Answers everything at once but the first question, which waits until nothing else does and `asked` were asked."""

    def __init__(self, asked: int, read: list[int]) -> None:
        super().__init__(self._all_but_first)
        self._asked = asked
        self._read = read
        self.read_ahead = 0

    def _all_but_first(self, waiting: Waiting) -> Waiting:
        others = [entry for entry in waiting if entry[0] != self.order[0]]
        if others or len(self.order) < self._asked:
            return others
        self.read_ahead = self.read_ahead or len(self._read)
        return waiting


async def test_the_source_is_not_read_ahead_of_the_window(tmp_path: Path) -> None:
    """While the oldest record waits, reading stops at the window's bound, and all behind it is finished meanwhile."""
    read: list[int] = []
    far = Straggler(2_000, read)
    source = counting(numbered(20_000), read)
    job = make_job(tmp_path, [ask("{{ text }}")], source=source, sink={"segment": SegmentLimits()})
    report = await Runner(job, transport=lambda: far).run()
    assert report.records["landed"] == 20_000
    assert 2_000 <= far.read_ahead <= 2_000 + 256
    assert read == list(range(20_000))


async def test_large_records_fill_the_window_by_their_size(tmp_path: Path) -> None:
    """64 MiB of records, not 2,000 of them."""
    read: list[int] = []
    far = Straggler(32, read)
    records = [{"id": number, "text": "x" * (1 << 21)} for number in range(80)]
    job = make_job(tmp_path, [ask("{{ id }}"), Map(fn=drop_text)], source=counting(records, read))
    await Runner(job, transport=lambda: far).run()
    assert 32 <= far.read_ahead <= 40


def drop_text(record: dict[str, Any]) -> dict[str, Any]:
    return {"id": record["id"], "reply": record["reply"]}


async def test_a_limit_reads_no_more_than_it_needs(tmp_path: Path) -> None:
    """`--limit 5` takes five records out of the source."""
    read: list[int] = []
    job = make_job(tmp_path, [ask("{{ text }}")], source=counting(numbered(1_000), read))
    far = FarSide()
    await run_job(job, far, limit=5)
    assert (read, len(far.billed)) == (list(range(5)), 5)


def fan_out(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "side": side} for side in range(record["id"])]


async def test_children_run_side_by_side_and_come_out_in_order(tmp_path: Path) -> None:
    """One record's twelve children fill the slots; nested children keep their places too."""
    write_records(tmp_path / "records.jsonl", [{"id": 12}])

    def choose(waiting: Waiting) -> Waiting:
        return waiting[-1:] if len(waiting) == 8 or len(far.order) in (1, 25) else []

    far = Gate(choose)
    steps = [ask("{{ id }}"), FlatMap(fn=fan_out), FlatMap(fn=pairs), ask("{{ side }}.{{ pair }}")]
    job = make_job(tmp_path, steps)
    report = await Runner(job, transport=lambda: far).run()
    assert far.most == 8
    rows = read_output(job.folders)
    assert [(row["side"], row["pair"]) for row in rows] == [(side, pair) for side in range(12) for pair in range(2)]
    assert report.steps[3]["emitted"] == 24


def pairs(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {**record, "pair": 0}
    yield {**record, "pair": 1}


async def test_one_record_may_become_very_many(tmp_path: Path) -> None:
    """More children than the window holds records: they wait in it, and the calls stay bounded."""
    write_records(tmp_path / "records.jsonl", [{"id": 5_000}, {"id": 3}])
    far = FarSide()
    job = make_job(tmp_path, [Map(fn=dict), ask("{{ id }}"), FlatMap(fn=fan_out)])
    await run_job(job, far)
    assert [row["side"] for row in read_output(job.folders)] == [*range(5_000), *range(3)]


flips = {"children": 3}


def unsteady(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Not deterministic: gives another number of children the second time."""
    return [{**record, "side": side} for side in range(flips["children"])]


async def test_a_flat_map_that_gives_fewer_the_second_time(tmp_path: Path) -> None:
    """A run sealed behind a child that is no longer given says so; it neither hangs nor lands something else."""
    write_records(tmp_path / "records.jsonl", numbered(4))
    job, far = make_job(tmp_path, [FlatMap(fn=unsteady), ask("{{ side }}")]), FarSide()
    flips["children"] = 3
    await run_job(job, far, limit=5)
    flips["children"] = 1
    async with asyncio.timeout(20):
        report = await run_job(job, far)
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert "stands behind 2 records made of one source record, which now gives another number" in report.reason
    assert len(read_output(job.folders)) == 5
    flips["children"] = 3
    assert (await run_job(job, far)).records["landed"] == 12


async def test_an_async_function_is_awaited(tmp_path: Path) -> None:
    """In the record half a step may be a coroutine function."""

    async def shout(record: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {**record, "text": record["text"].upper()}

    write_records(tmp_path / "records.jsonl", numbered(3))
    job = make_job(tmp_path, [label(), Map(fn=shout)])
    await run_job(job, FarSide())
    assert [row["text"] for row in read_output(job.folders)] == ["REVIEW 0.", "REVIEW 1.", "REVIEW 2."]


async def test_two_models_have_their_own_slots(tmp_path: Path) -> None:
    """Each step's calls are bounded by its own model."""
    write_records(tmp_path / "records.jsonl", numbered(40))
    most: Counter[str] = Counter()

    def choose(waiting: Waiting) -> Waiting:
        nonlocal most
        wide, narrow = ([entry for entry in waiting if entry[0].startswith(step)] for step in "ab")
        most |= Counter(a=len(wide), b=len(narrow))
        return (wide if len(gate.order) >= 8 else []) + (narrow if len(narrow) >= 2 else [])

    gate = Gate(choose)
    two = make_model(limits=Limits(concurrency=2))
    job = make_job(tmp_path, [ask("a {{ text }}"), ask("b {{ text }}", model=two, into="second")])
    async with asyncio.timeout(20):
        report = await Runner(job, transport=lambda: gate).run()
    assert most == {"a": 8, "b": 2}
    assert report.records["landed"] == 40


class Cable:
    is_out = False


def far_records() -> Iterator[dict[str, Any]]:
    yield from numbered(20)
    if Cable.is_out:
        raise OSError("the cable is out")
    yield from numbered(30, 20)


async def test_a_source_that_breaks_stops_the_run(tmp_path: Path) -> None:
    """What a source raises besides a record's own failures is the run's; what it gave before lands."""
    Cable.is_out = True
    job, far = make_job(tmp_path, [ask("{{ text }}")], source=FromIterable(iterable=far_records)), FarSide()
    report = await run_job(job, far)
    assert (report.outcome, report.exit_code, report.reason) == ("failed", 3, "OSError: the cable is out")
    Cable.is_out = False
    report = await run_job(job, far)
    assert (report.outcome, len(read_output(job.folders)), len(far.billed)) == ("finished", 30, 30)


def no_records() -> Iterator[dict[str, Any]]:
    return next(iter([]))


async def test_a_source_function_that_raises_stop_iteration(tmp_path: Path) -> None:
    """It is an error, never an end, and nothing waits for ever."""
    job = make_job(tmp_path, [ask("{{ text }}")], source=FromIterable(iterable=no_records))
    async with asyncio.timeout(20):
        report = await run_job(job, FarSide())
    assert (report.outcome, "the function raised StopIteration" in report.reason) == ("failed", True)


async def test_an_iterable_that_ends_before_the_run_stood(tmp_path: Path) -> None:
    """Not the same items again: refused."""
    job, far = make_job(tmp_path, [ask("{{ text }}")], source=FromIterable(iterable=numbered(20))), FarSide()
    await run_job(job, far, limit=15)
    shorter = make_job(tmp_path, [ask("{{ text }}")], source=FromIterable(iterable=numbered(10)))
    with pytest.raises(StateError, match="iterable: edited before the point it was read to"):
        await run_job(shorter, far)
    assert len(far.billed) == 15
