"""Source halves that look across records: rows, order and books are those of plain Python, over any crash."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_books import FIELDS
from test_crash_points import Expected, expect, telling
from workbench import (
    ONCE,
    FarSide,
    ask,
    check_folders,
    describe_failed,
    make_job,
    numbered,
    read_committed,
    read_failed,
    read_output,
    run_job,
    write_records,
)

import tidemill as tm
from tidemill.data.flow import Flow
from tidemill.data.joined.mixed import Mix
from tidemill.data.joined.ways import Concat, Zip
from tidemill.data.nodes.across import Batch, Every, Pack, Prefetch, Repeat, Sample, Shard, Shuffle, Skip, Sliding, Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, FlatMap, Map, Unbatch
from tidemill.data.order import derive_seed, iter_samples, permute_block
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.data.sources.rows import ObjectSource
from tidemill.errors import DataError, StateError
from tidemill.jobs.live.iteration import iterate_all
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import Status
from tidemill.jobs.spec.job import JobSpec
from tidemill.protocols import Source
from tidemill.testing import Crash, CrashDisk, StoppingDisk
from tidemill.testing.crash import Moment

Outcome = dict[str, Any] | None
"""What a step gives: a record, or None for a failure that goes on past the steps behind it."""


class Switch:
    """Whether the functions of the steps fail where they are told to."""

    fails = True


@dataclass(frozen=True)
class Plan:
    """A step: what it does with records, and the numbers (by remainder) at which it fails."""

    kind: str
    seed: int
    bad: int | None
    on_error: Literal["skip"] | None = None

    def nodes(self) -> list[Node]:
        """The step as nodes."""
        size = 1 + self.seed
        nodes: dict[str, list[Node]] = {
            "map": [Map(fn=make_map(self), on_error=self.on_error)],
            "threads": [Map(fn=make_map(self), concurrency=1 + size, on_error=self.on_error)],
            "filter": [Filter(fn=make_filter(self), on_error=self.on_error)],
            "flat_map": [FlatMap(fn=make_flat_map(self), on_error=self.on_error)],
            "skip": [Skip(count=self.seed)],
            "every": [Every(count=size)],
            "sample": [Sample(ratio=0.7, seed=self.seed)],
            "regroup": [Batch(size=size, drop_last=bool(self.bad)), Unbatch()],
            "shuffle": [Shuffle(buffer=2 * size, seed=self.seed)],
            "prefetch": [Prefetch(count=size)],
            "repeat": [Repeat(epochs=1 + self.seed % 2)],
            "take": [Take(count=5 + 3 * self.seed)],
        }
        return nodes[self.kind]

    def is_bad(self, number: int) -> bool:
        return Switch.fails and self.bad is not None and number % 7 == self.bad


def make_map(plan: Plan) -> Callable[[Any], Any]:
    def increase(record: dict[str, Any]) -> dict[str, Any]:
        record["n"] += plan.seed  # of its own copy
        if plan.is_bad(record["n"] - plan.seed):
            raise ValueError("bad")
        return record

    return increase


def make_filter(plan: Plan) -> Callable[[Any], Any]:
    def is_kept(record: dict[str, Any]) -> bool:
        if plan.is_bad(record["n"]):
            raise SystemExit("bad")
        return bool((record["n"] + plan.seed) % 3)

    return is_kept


def make_flat_map(plan: Plan) -> Callable[[Any], Any]:
    def split(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for position in range((record["n"] + plan.seed) % 4):
            if position == 1 and plan.is_bad(record["n"]):
                raise ValueError("bad")
            yield {**record, "n": record["n"] * 3 + position}

    return split


class Oracle:
    """The source half in plain Python: whole lists, one step after the other."""

    def __init__(self, plans: Sequence[Plan], lines: Sequence[Any]) -> None:
        nodes = sum(len(plan.nodes()) for plan in plans)
        self.counts: list[Counter[str]] = [Counter() for _ in range(nodes + 2)]
        self.landed = [record for record in self._run(plans, lines, ()) if record is not None]
        self._note(-1, len(self.landed), len(self.landed))

    @property
    def steps(self) -> list[list[int]]:
        return [[counts[name] for name in FIELDS] for counts in self.counts]

    def _run(self, plans: Sequence[Plan], lines: Sequence[Any], epoch: tuple[int, ...]) -> list[Outcome]:
        if not plans:
            good = [None if isinstance(line, str) else dict(line) for line in lines]
            self._note(0, len(good), len(good) - good.count(None), failed=good.count(None))
            return good
        *front, plan = plans
        at = 1 + sum(len(each.nodes()) for each in front)
        if plan.kind == "repeat":
            given: list[Outcome] = []
            for number in range(1 + plan.seed % 2):
                once = self._run(front, lines, (*epoch, number))
                given += once
                if all(each is None for each in once):
                    break
            good = [each for each in given if each is not None]
            self._note(at, len(good), len(good))
            return given
        before = self._run(front, lines, epoch)
        records = [each for each in before if each is not None]
        failed = [None] * before.count(None)
        return failed + self._apply(plan, at, records, epoch)

    def _apply(self, plan: Plan, at: int, records: list[Any], epoch: tuple[int, ...]) -> list[Outcome]:
        taken, size = len(records), 1 + plan.seed
        match plan.kind:
            case "map" | "threads":
                good = [{**each, "n": each["n"] + plan.seed} for each in records if not plan.is_bad(each["n"])]
                self._note(at, taken, len(good), failed=taken - len(good), plan=plan)
                return [*good, *[None] * (taken - len(good))]
            case "filter":
                fine = [each for each in records if not plan.is_bad(each["n"])]
                good = [each for each in fine if (each["n"] + plan.seed) % 3]
                self._note(at, taken, len(good), failed=taken - len(fine), dropped=len(fine) - len(good), plan=plan)
                return [*good, *[None] * (taken - len(fine))]
            case "flat_map":
                return self._split(plan, at, records)
            case "skip" | "every" | "sample":
                picks = iter_samples(0.7, plan.seed, 0)
                good = {
                    "skip": lambda: records[plan.seed :],
                    "every": lambda: records[::size],
                    "sample": lambda: [each for each, chosen in zip(records, picks, strict=False) if chosen],
                }[plan.kind]()
                self._note(at, taken, len(good), dropped=taken - len(good))
                return list(good)
            case "regroup":
                left = taken % size if plan.bad else 0
                batches = (taken - left + size - 1) // size
                self._note(at, taken, batches, passed=taken - left, dropped=left)
                self._note(at + 1, batches, taken - left, passed=batches)
                return records[: taken - left]
            case "shuffle":
                blocks = [records[start : start + 2 * size] for start in range(0, taken, 2 * size)]
                seeds = [derive_seed(plan.seed, epoch, number) for number in range(len(blocks))]
                self._note(at, taken, taken)
                return [each for block, seed in zip(blocks, seeds, strict=True) for each in permute_block(block, seed)]
        self._note(at, taken, taken)
        return list(records)

    def _split(self, plan: Plan, at: int, records: list[Any]) -> list[Outcome]:
        given: list[Outcome] = []
        failed = dropped = 0
        for each in records:
            count = (each["n"] + plan.seed) % 4
            is_bad = count > 1 and plan.is_bad(each["n"])
            failed += is_bad
            dropped += not count
            given += [{**each, "n": each["n"] * 3 + child} for child in range(1 if is_bad else count)]
        passed = len(records) - failed - dropped
        self._note(at, len(records), len(given), passed=passed, failed=failed, dropped=dropped, plan=plan)
        return [*given, *[None] * failed]

    def _note(
        self,
        at: int,
        taken: int,
        emitted: int,
        *,
        passed: int | None = None,
        failed: int = 0,
        dropped: int = 0,
        plan: Plan | None = None,
    ) -> None:
        passed = emitted if passed is None else passed
        outcome = "skipped" if plan is not None and plan.on_error else "quarantined"
        self.counts[at] += Counter(
            {"in": taken, "passed": passed, "dropped": dropped, outcome: failed, "emitted": emitted}
        )


KINDS = (
    *("map", "filter", "flat_map", "skip", "every", "sample", "regroup", "regroup"),
    *("shuffle", "shuffle", "prefetch", "threads", "repeat"),
)


def plans(*kinds: str) -> st.SearchStrategy[Plan]:
    bad = st.none() | st.integers(0, 6)
    on_error = st.sampled_from([None, "skip"])
    return st.builds(Plan, kind=st.sampled_from(kinds), seed=st.integers(0, 4), bad=bad, on_error=on_error)


def has_one_repeat(pipeline: Sequence[Plan]) -> bool:
    return sum(plan.kind == "repeat" for plan in pipeline) < 2


pipelines = st.lists(plans(*KINDS), min_size=1, max_size=5).filter(has_one_repeat)
sources = st.lists(st.one_of(st.integers(0, 40).map(lambda number: {"n": number}), st.just("{corrupt")), max_size=40)


def job_of(folder: Path, pipeline: Sequence[Plan], source: Path) -> JobSpec:
    nodes = [node for plan in pipeline for node in plan.nodes()]
    return make_job(
        folder,
        [*nodes, ask("{{ n }}", into="reply")],
        source=str(source / "in/*.jsonl"),
        max_errors=10_000,
        sink={"segment": {"records": 7}},
    )


def write_parts(folder: Path, lines: Sequence[Any]) -> None:
    half = len(lines) // 2
    write_records(folder / "in" / "a.jsonl", lines[:half])
    write_records(folder / "in" / "b.jsonl", lines[half:])


@settings(max_examples=40)
@given(pipeline=pipelines, lines=sources, limits=st.lists(st.integers(0, 30), max_size=3))
async def test_any_source_half(pipeline: list[Plan], lines: list[Any], limits: list[int]) -> None:
    """In one sitting or several: rows, order and the books of every step are the oracle's."""
    Switch.fails = True
    with tempfile.TemporaryDirectory() as place:
        folder, far = Path(place), FarSide()
        write_parts(folder, lines)
        job = job_of(folder, pipeline, folder)
        for limit in sorted(limits):
            await run_job(job, far, limit=limit)
        report = await run_job(job, far)
        assert report.outcome == "finished", report.reason
        expected = Oracle(pipeline, lines)
        steps = [[step[name] for name in FIELDS] for step in report.steps]
        assert [*steps[:-2], steps[-1]] == expected.steps
        assert [record["n"] for record in read_output(job.folders)] == [record["n"] for record in expected.landed]
        assert len(far.billed) == len(expected.landed)
        assert len(read_failed(job.folders)) == report.records["quarantined"] + report.records["skipped"]
        check_folders(job.folders)


@settings(max_examples=40)
@given(
    pipeline=st.lists(plans(*KINDS, "take", "take"), min_size=1, max_size=5),
    lines=sources,
    at=st.integers(1, 60),
    moment=st.sampled_from(["before", "half", "after"]),
    limit=st.none() | st.integers(0, 30),
)
async def test_any_source_half_that_was_ended(
    pipeline: list[Plan], lines: list[Any], at: int, moment: Moment, limit: int | None
) -> None:
    """At some durable operation, and resumed: the same rows, failures and books; no committed call is sent again."""
    Switch.fails = True
    with tempfile.TemporaryDirectory() as place:
        folder, far = Path(place), FarSide()
        write_parts(folder, lines)
        whole, ended = job_of(folder / "whole", pipeline, folder), job_of(folder / "ended", pipeline, folder)
        expected = await run_job(whole, far)
        with contextlib.suppress(Crash):
            await run_job(ended, far, StoppingDisk(at, moment), limit=limit)
        committed = read_committed(ended.folders)
        far.forget()
        report = await run_job(ended, far)
        assert (report.outcome, report.steps) == (expected.outcome, expected.steps)
        assert read_output(ended.folders) == read_output(whole.folders)
        assert describe_failed(read_failed(ended.folders)) == describe_failed(read_failed(whole.folders))
        assert Counter(far.billed) + committed == read_committed(whole.folders)
        check_folders(ended.folders)


def joined(folder: Path) -> Source:
    """Two files by weight, a step of its own over one of them."""
    first, second = (Read.model_validate({"path": name}, context={"folder": folder}) for name in ("a.jsonl", "b.jsonl"))
    return Mix(
        [Flow(first, (Map(fn=fail_at_5),)), Flow(second, (Shuffle(buffer=6),))], weights=None, seed=3, stop="all"
    )


def fail_at_5(record: dict[str, Any]) -> dict[str, Any]:
    if record["id"] == 5:
        raise ValueError("five")
    return record


def fail_at_7(record: dict[str, Any]) -> dict[str, Any]:
    if record["id"] == 7:
        raise ValueError("seven")
    return record


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with two files."""
    write_records(tmp_path / "a.jsonl", [*numbered(14), "{corrupt"])
    write_records(tmp_path / "b.jsonl", numbered(26, 14))
    return tmp_path


async def test_every_operation_of_a_run(files: Path) -> None:
    """Mixed, mapped, shuffled, batched and repeated: at each operation, the same rows in order, few calls again."""

    def job_in(folder: Path) -> JobSpec:
        steps = [Map(fn=fail_at_7), Shuffle(buffer=8), Repeat(epochs=2), Batch(size=4), Unbatch(), ask("{{ text }}")]
        return make_job(folder, steps, source=joined(files), max_errors=20)

    far = FarSide(latency_s=0.001)
    expected: Expected = await expect(job_in(files / "whole"), far)
    assert (len(expected.rows), len(expected.failed)) == (48, 6)
    watched = files / "watched"
    watched.mkdir()
    disk = CrashDisk(watched, files / "snapshots", observe=lambda: Counter(far.billed))
    far.forget()
    await run_job(job_in(watched), far, disk)
    assert len(disk.distinct_snapshots) > 30
    for snapshot in disk.distinct_snapshots:
        job = job_in(snapshot.folder)
        far.forget()
        with telling(snapshot):
            committed = read_committed(job.folders)
            assert (snapshot.seen - committed).total() <= ONCE.slots
            expected.check(await run_job(job, far), job, Counter(far.billed) + committed)


SOURCES: dict[str, Callable[[Path], Source]] = {
    "files": lambda folder: Read.model_validate({"path": ["a.jsonl", "b.jsonl"]}, context={"folder": folder}),
    "joined": joined,
    "concat": lambda folder: Concat([Flow(ObjectSource(numbered(20))), Flow(FromIterable(iterable=numbered(9)))]),
    "iterable": lambda folder: FromIterable(iterable=numbered(30)),
    "dataset": lambda folder: ObjectSource(numbered(30)),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: [Shuffle(buffer=None)] if name == "dataset" else [Shuffle(buffer=5)],
        lambda name: [Skip(count=2), Every(count=2), Take(count=8)],
        lambda name: [Shard(rank=1, world=3)],
        lambda name: [Map(fn=fail_at_7), Shard(rank=1, world=3, even="pad"), Shuffle(buffer=4)],
        lambda name: [],
        lambda name: [Map(fn=fail_at_7, on="threads", concurrency=3), Repeat(epochs=2), Prefetch(count=3)],
        lambda name: [Sliding(size=3, step=2), Map(fn=lambda window: {"text": window[0]["text"], "id": len(window)})],
    ],
)
async def test_any_source_as_plain_iteration_gives_it(
    name: str, make: Callable[[str], list[Node]], files: Path
) -> None:
    """What lands is what iterating gives, in its order, in sittings of any length."""
    source, nodes = SOURCES[name](files), make(name)
    expected, records = [], iterate_all(source, nodes, folder=files)
    while True:
        try:
            expected.append(next(records)["text"])
        except StopIteration:
            break
        except DataError:
            continue
    job = make_job(files, [*nodes, ask()], source=source, max_errors=20)
    far = FarSide()
    for limit in (3, 4, 11):
        await run_job(job, far, limit=limit)
    report = await run_job(job, far)
    assert report.outcome == "finished"
    assert [record["text"] for record in read_output(job.folders)] == expected
    assert len(far.billed) == len(expected)


async def test_a_record_that_fails_in_front_is_whole(files: Path) -> None:
    """As it came to its step, with the step, the cause and its place; those of joined streams at the source."""
    job = make_job(files, [Map(fn=spoil), Shuffle(buffer=4), ask()], source="a.jsonl", max_errors=20)
    await run_job(job, FarSide())
    rows = {row.name: row for row in read_failed(job.folders)}
    assert rows["source"].raw == b"{corrupt"
    assert rows["map"].record == {"id": 9, "text": "review 9."}
    assert rows["map"].error["type"] == "ValueError"
    assert rows["map"].error["message"] == "nine"
    assert "a.jsonl, byte" in rows["map"].error["where"]
    of_join = make_job(files, [ask()], source=joined(files), sink={"path": "joined"}, max_errors=20)
    await run_job(of_join, FarSide())
    failed = [row for row in read_failed(of_join.folders) if row.raw is None]
    assert [(row.name, row.record) for row in failed] == [("source", {"id": 5, "text": "review 5."})]
    assert failed[0].error["message"] == "five"
    write_records(files / "records.jsonl", [{"ids": [1] * count} for count in range(5)])
    nodes = [Pack(max_tokens=3, column="ids"), ask("{{ ids }}")]
    packed = make_job(files, nodes, sink={"path": "packed"}, max_errors=20)
    await run_job(packed, FarSide())
    assert [(row.name, row.record) for row in read_failed(packed.folders)] == [("pack", {"ids": [1] * 4})]
    mixed = [{"text": "a"}, {"text": "b"}, {"text": "c"}, {"other": 1}]
    gathered = make_job(
        files,
        [Batch(size=2, form="columns"), ask("{{ text }}")],
        source=ObjectSource(mixed),
        sink={"path": "gathered"},
        max_errors=20,
    )
    report = await run_job(gathered, FarSide())
    assert [(row.name, row.record) for row in read_failed(gathered.folders)] == [("batch", mixed[2:])]
    assert [report.steps[1][name] for name in FIELDS] == [4, 3, 0, 0, 1, 1]


def spoil(record: dict[str, Any]) -> dict[str, Any]:
    """Changes what it is given before it fails."""
    text = record.pop("text")
    if record["id"] == 9:
        raise ValueError("nine")
    return {**record, "text": text}


def look_up(record: dict[str, Any]) -> dict[str, Any]:
    """Fails for odd numbers within a stream of its own, at a step of its own."""
    numbers = tm.from_iterable([record["id"] % 2]).map(lambda odd: 1 // (1 - odd), name="inner")
    return {**record, "found": next(iter(numbers))}


def iter_looked_up(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield record
    yield look_up(record)


@pytest.mark.parametrize(
    ("node", "earlier"),
    [(Map(fn=look_up), 0), (Map(fn=look_up, concurrency=2, on="threads"), 0), (FlatMap(fn=iter_looked_up), 1)],
)
async def test_a_stream_within_a_function_fails_the_record_of_the_function(
    node: Node, earlier: int, files: Path
) -> None:
    """At the function's own step, with the record that came to it, as behind a call."""
    job = make_job(files, [node, Shuffle(buffer=4)], source="b.jsonl", max_errors=20)
    report = await run_job(job, FarSide())
    assert report.outcome == "finished"
    failed = read_failed(job.folders)
    odd = [number for number in range(14, 26) if number % 2]
    assert sorted((row.name, row.record["id"], row.given) for row in failed) == [(node.kind, n, earlier) for n in odd]
    assert {row.error["type"] for row in failed} == {"ZeroDivisionError"}


async def test_retry_takes_what_only_order_lies_behind(files: Path) -> None:
    """It lands behind the others; what a batch or a pick lies behind has lost its place, and says so."""
    far = FarSide()
    for name, steps, is_tried in (
        ("ordered", [Shuffle(buffer=4), Map(fn=add_tag_later, concurrency=2), Repeat(epochs=2)], True),
        ("picked", [Shuffle(buffer=4), Skip(count=1)], False),
        ("gathered", [Batch(size=3), Unbatch()], False),
    ):
        Switch.fails = True
        job = make_job(
            files, [Map(fn=fail_switched), *steps, ask()], source="b.jsonl", sink={"path": name}, max_errors=20
        )
        await run_job(job, far)
        landed = len(read_output(job.folders))
        (failed, *more) = read_failed(job.folders)
        Switch.fails = False
        report = await run_job(job, far, retry=True)
        left = read_failed(job.folders)
        if is_tried:
            assert not left
            assert [row["id"] for row in read_output(job.folders)[landed:]] == [16] * (1 + len(more))
            assert report.records["quarantined"] == 0
        else:
            assert [row.record for row in left] == [failed.record]
            assert left[0].error["message"].endswith("a step before the first call looks at it among others)")
            again = await run_job(job, far, retry=True)
            assert read_failed(job.folders)[0].error == left[0].error
            assert again.steps == report.steps


def fail_switched(record: dict[str, Any]) -> dict[str, Any]:
    if record["id"] == 16 and Switch.fails:
        raise ValueError("sixteen")
    return record


def add_tag(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "tag": 1}


async def add_tag_later(record: dict[str, Any]) -> dict[str, Any]:
    return add_tag(record)


@pytest.mark.parametrize(
    "node",
    [
        Map(fn=add_tag_later),
        Map(fn=add_tag_later, concurrency=4),
        Map(fn=add_tag, concurrency=2, on="threads"),
        Map(fn=add_tag, concurrency=2, on="processes"),
    ],
)
async def test_workers_of_any_kind(node: Node, files: Path) -> None:
    """They end with the run, also with one that is broken off."""
    job = make_job(files, [node, ask()], source="b.jsonl")
    await run_job(job, FarSide(), limit=5)
    await run_job(job, FarSide())
    assert [(row["id"], row["tag"]) for row in read_output(job.folders)] == [(number, 1) for number in range(14, 26)]


class Desk:
    """A step that is opened and closed."""

    opened: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Desk:
        self.opened.append(f"{self.name} opened")
        return self

    def __exit__(self, *error: object) -> None:
        self.opened.append(f"{self.name} closed")

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        assert self.opened.count(f"{self.name} opened") > self.opened.count(f"{self.name} closed")
        return {**record, self.name: 1}


async def test_steps_are_entered_once(files: Path) -> None:
    """In front of what looks across records and behind it; a retry enters them again."""
    Desk.opened.clear()
    Switch.fails = True
    nodes = [Map(fn=Desk("first")), Map(fn=fail_switched), Shuffle(buffer=4), Repeat(epochs=2), Map(fn=Desk("second"))]
    job = make_job(files, [*nodes, ask()], source="b.jsonl", max_errors=20)
    await run_job(job, FarSide())
    assert sorted(Desk.opened) == ["first closed", "first opened", "second closed", "second opened"]
    Switch.fails = False
    report = await run_job(job, FarSide(), retry=True)
    assert report.records == {"landed": 24, "dropped": 0, "skipped": 0, "quarantined": 0}
    assert len(Desk.opened) == 8
    assert all(row["second"] for row in read_output(job.folders))


async def test_raise_leaves_its_record_unfinished(files: Path) -> None:
    """What came before it is sealed; mended, the run goes on with it."""
    Switch.fails = True
    steps = [Map(fn=fail_switched, on_error="raise"), Shuffle(buffer=3), ask()]
    job = make_job(files, steps, source="b.jsonl")
    report = await run_job(job, FarSide())
    assert report.outcome == "raised"
    assert "sixteen" in report.reason
    Switch.fails = False
    report = await run_job(job, FarSide())
    assert (report.outcome, report.records["landed"]) == ("finished", 12)


async def test_reuse_goes_by_the_number_at_the_end_of_the_half(files: Path) -> None:
    """Another second step pays for its own calls alone."""
    half = [Shuffle(buffer=5), Repeat(epochs=2)]
    far = FarSide()
    old = make_job(files, [*half, ask(), ask("Sum up {{ text }}", into="sum")], source="b.jsonl")
    await run_job(old, far)
    far.forget()
    new = make_job(files, [*half, ask(), ask("Cut {{ text }}", into="sum")], source="b.jsonl", sink={"path": "new"})
    report = await run_job(new, far, reuse=str(old.folders.run))
    assert report.reused == 24
    assert all(question.startswith("Cut") for question in far.questions)


async def test_progress_knows_how_much_there_is(files: Path) -> None:
    """Over all files and epochs."""
    write_records(files / "in" / "a.jsonl", numbered(300))
    write_records(files / "in" / "b.jsonl", numbered(600, 300))
    job = make_job(files, [Shuffle(buffer=10), Repeat(epochs=2), ask()], source="in/*.jsonl")
    report = await run_job(job, FarSide(), limit=100)
    assert report.done == 100
    seen: list[Status] = []
    runner = Runner(job, transport=FarSide().connect, on_status=seen.append)
    await runner.run()
    assert seen[-1].total == 1200


async def test_a_source_that_changed_is_refused(files: Path) -> None:
    """Other files, files that grew once they were read, edits of what was read: each would shift all behind it."""
    steps = [Shuffle(buffer=4), ask()]

    async def begin(name: str, limit: int | None) -> JobSpec:
        folder = files / name
        write_records(folder / "in" / "a.jsonl", numbered(10))
        write_records(folder / "in" / "b.jsonl", numbered(30, 10))
        job = make_job(folder, steps, source="in/*.jsonl")
        await run_job(job, FarSide(), limit=limit)
        return job

    job = await begin("new", 4)
    write_records(job.folder / "in" / "c.jsonl", numbered(2))
    with pytest.raises(StateError, match=r"c\.jsonl: is new, and a step before the first call looks across records"):
        await run_job(job, FarSide())
    job = await begin("grown", 15)
    write_records(job.folder / "in" / "a.jsonl", numbered(2), append=True)
    with pytest.raises(StateError, match=r"a\.jsonl: grew, and a step before the first call looks across records"):
        await run_job(job, FarSide())
    job = await begin("edited", 15)
    write_records(job.folder / "in" / "a.jsonl", numbered(10, 0)[::-1])
    with pytest.raises(StateError, match=r"a\.jsonl: edited before the point it was read to"):
        await run_job(job, FarSide())
    job = await begin("gone", 15)
    (job.folder / "in" / "a.jsonl").unlink()
    with pytest.raises(StateError, match=r"a\.jsonl: gone"):
        await run_job(job, FarSide())
    job = await begin("behind", 4)
    write_records(job.folder / "in" / "b.jsonl", numbered(40, 30), append=True)
    assert (await run_job(job, FarSide())).records["landed"] == 40


async def test_growth_behind_a_take_in_front_is_taken(files: Path) -> None:
    """Once it has all it wants, what comes after does not matter."""
    job = make_job(files, [Take(count=10), Shuffle(buffer=4), ask()], source="b.jsonl")
    await run_job(job, FarSide())
    write_records(files / "b.jsonl", numbered(3), append=True)
    report = await run_job(job, FarSide())
    assert (report.outcome, report.records["landed"]) == ("finished", 10)


async def test_a_source_that_breaks_off_stops_the_run(files: Path) -> None:
    """A generator that raised is at its end: nothing lands as if the source had ended there."""
    broken = FromIterable(iterable=breaking)
    for source in (broken, Concat([Flow(broken), Flow(ObjectSource([{"text": "b"}]))])):
        job = make_job(files, [Shuffle(buffer=2), ask()], source=source, sink={"path": type(source).__name__})
        report = await run_job(job, FarSide())
        assert (report.outcome, report.reason) == ("failed", "ValueError: broke off")


def breaking() -> Iterator[dict[str, Any]]:
    yield from numbered(5)
    raise ValueError("broke off")


async def test_rows_of_zip_become_records(files: Path) -> None:
    """Tuples are no records: a map in front of the call makes some."""
    source = Zip([Flow(ObjectSource(numbered(6))), Flow(ObjectSource(numbered(12, 6)))])
    job = make_job(files, [Map(fn=join_row), ask()], source=source)
    await run_job(job, FarSide())
    assert [row["text"] for row in read_output(job.folders)] == [f"{n} and {n + 6}" for n in range(6)]


def join_row(row: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return {"text": " and ".join(str(each["id"]) for each in row)}
