"""Any pipeline, any failures: the output is what plain Python gives, and the books close."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import (
    FarSide,
    ask,
    check_folders,
    describe_failed,
    make_job,
    read_failed,
    read_output,
    run_job,
    write_records,
)

from tidemill.calls.wire import Response
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, FlatMap, Map
from tidemill.jobs.spec.job import JobSpec
from tidemill.testing import Crash, StoppingDisk, chat_response, error_response
from tidemill.testing.crash import Moment

FIELDS = ("in", "passed", "dropped", "skipped", "quarantined", "emitted")


class Switch:
    """Whether the functions of the steps fail where they are told to."""

    fails = True


@dataclass(frozen=True)
class Plan:
    """A step: what it does with a record's number, and the numbers (by remainder) at which it fails."""

    kind: Literal["map", "filter", "flat_map", "take", "generate"]
    seed: int
    bad: int | None
    on_error: Literal["quarantine", "skip"] | None

    def is_bad(self, number: int) -> bool:
        return Switch.fails and self.bad is not None and number % 7 == self.bad

    def children(self, number: int) -> list[int]:
        return [number * 3 + child for child in range((number + self.seed) % 4)]

    def node(self, index: int) -> Node:
        """The step as a node."""
        match self.kind:
            case "map":
                return Map(fn=make_map(self), on_error=self.on_error)
            case "filter":
                return Filter(fn=make_filter(self), on_error=self.on_error)
            case "flat_map":
                return FlatMap(fn=make_flat_map(self), on_error=self.on_error)
            case "take":
                return Take(count=5 + self.seed)
            case "generate":
                return ask(f"{index}: {{{{ n }}}}", into=f"reply_{index}", on_error=self.on_error)


def make_map(plan: Plan) -> Callable[[Any], Any]:
    def increase(record: dict[str, Any]) -> dict[str, Any]:
        if plan.is_bad(record["n"]):
            raise ValueError("bad")
        return {**record, "n": record["n"] + plan.seed}

    return increase


def make_filter(plan: Plan) -> Callable[[Any], Any]:
    def is_kept(record: dict[str, Any]) -> bool:
        if plan.is_bad(record["n"]):
            raise ValueError("bad")
        return bool((record["n"] + plan.seed) % 3)

    return is_kept


def make_flat_map(plan: Plan) -> Callable[[Any], Any]:
    def split(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Fails behind its first child, if it has one."""
        children = plan.children(record["n"])
        for position, child in enumerate(children):
            if position == 1 and plan.is_bad(record["n"]):
                raise ValueError("bad")
            yield {**record, "n": child}
        if len(children) < 2 and plan.is_bad(record["n"]):
            raise ValueError("bad")

    return split


@dataclass
class Oracle:
    """The pipeline in plain Python, one record after the other."""

    plans: Sequence[Plan]
    lines: Sequence[Any]
    landed: list[dict[str, Any]] = field(default_factory=list)
    counts: list[Counter[str]] = field(default_factory=list)
    taken: Counter[int] = field(default_factory=Counter)

    def run(self) -> Oracle:
        self.counts = [Counter() for _ in range(len(self.plans) + 2)]
        for line in self.lines:
            if self.is_full(-1):
                break
            self.counts[0]["in"] += 1
            if isinstance(line, str):
                self.counts[0]["quarantined"] += 1
            else:
                self.counts[0]["passed"] += 1
                self.counts[0]["emitted"] += 1
                self.flow(line, 0)
        return self

    def is_full(self, after: int) -> bool:
        takes = [index for index, plan in enumerate(self.plans) if plan.kind == "take" and index > after]
        return any(self.taken[index] >= 5 + self.plans[index].seed for index in takes)

    def flow(self, record: dict[str, Any], index: int) -> None:
        counts = self.counts[index + 1]
        counts["in"] += 1
        if index == len(self.plans):
            self.landed.append(record)
            counts["passed"] += 1
            counts["emitted"] += 1
            return
        plan = self.plans[index]
        children, failed = self.apply(plan, index, record)
        if failed:
            counts[{"skip": "skipped"}.get(plan.on_error or "", "quarantined")] += 1
        given = 0
        for child in children:
            given += 1
            counts["emitted"] += 1
            self.flow(child, index + 1)
            if plan.kind == "flat_map" and self.is_full(index):
                if failed:  # what fails behind it is not reached
                    counts[{"skip": "skipped"}.get(plan.on_error or "", "quarantined")] -= 1
                    failed = False
                break
        if not failed:
            counts["passed" if given else "dropped"] += 1

    def apply(self, plan: Plan, index: int, record: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """What the step gives, and whether it fails (behind that)."""
        number = record["n"]
        bad = plan.is_bad(number)
        match plan.kind:
            case "map":
                return ([] if bad else [{**record, "n": number + plan.seed}]), bad
            case "filter":
                return ([record] if not bad and (number + plan.seed) % 3 else []), bad
            case "flat_map":
                children = [{**record, "n": child} for child in plan.children(number)]
                is_called_first = any(before.kind == "generate" for before in self.plans[:index])
                return (([] if is_called_first else children[:1]) if bad else children), bad
            case "take":
                self.taken[index] += 1
                return ([record] if self.taken[index] <= 5 + plan.seed else []), False
            case "generate":
                return ([] if bad else [{**record, f"reply_{index}": f"reply to {number}"}]), bad

    @property
    def steps(self) -> list[list[int]]:
        """The counts as a report has them."""
        return [[counts[name] for name in FIELDS] for counts in self.counts]


def plans(*kinds: str) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        kind=st.sampled_from(kinds),
        seed=st.integers(0, 5),
        bad=st.none() | st.integers(0, 6),
        on_error=st.sampled_from([None, "quarantine", "skip"]),
    )


pipelines = st.tuples(
    st.lists(plans("map", "filter", "flat_map", "take"), max_size=3),
    st.lists(plans("map", "filter", "flat_map", "generate", "generate"), max_size=4),
).map(lambda halves: [*halves[0], *halves[1]])

sources = st.lists(st.one_of(st.integers(0, 40).map(lambda number: {"n": number}), st.just("{corrupt")), max_size=40)


def far_side(pipeline: Sequence[Plan]) -> FarSide:
    def script(question: str) -> Response:
        index, number = map(int, question.split(": "))
        if pipeline[index].is_bad(number):
            return error_response(400, "bad")
        return chat_response(f"reply to {number}")

    return FarSide(script)


def write_parts(folder: Path, lines: Sequence[Any]) -> None:
    """Two files, half of the lines in each."""
    half = len(lines) // 2
    write_records(folder / "in" / "a.jsonl", lines[:half])
    write_records(folder / "in" / "b.jsonl", lines[half:])


def job_of(folder: Path, pipeline: Sequence[Plan], source: Path) -> JobSpec:
    nodes = [plan.node(index) for index, plan in enumerate(pipeline)]
    return make_job(
        folder, nodes, source=str(source / "in/*.jsonl"), max_errors=10_000, sink={"segment": {"records": 7}}
    )


def is_job(pipeline: Sequence[Plan]) -> bool:
    """A `take` stands before the first call."""
    kinds = [plan.kind for plan in pipeline]
    first = kinds.index("generate") if "generate" in kinds else len(kinds)
    return "take" not in kinds[first:]


@settings(max_examples=40)
@given(pipeline=pipelines.filter(is_job), lines=sources, limits=st.lists(st.integers(0, 30), max_size=3))
async def test_any_pipeline(pipeline: list[Plan], lines: list[Any], limits: list[int]) -> None:
    """In one sitting or several: rows, order and counts are the oracle's; healed and retried, as if nothing failed."""
    Switch.fails = True
    with tempfile.TemporaryDirectory() as place:
        folder, far = Path(place), far_side(pipeline)
        write_parts(folder, lines)
        job = job_of(folder, pipeline, folder)
        for limit in sorted(limits):
            await run_job(job, far, limit=limit)
        report = await run_job(job, far)
        expected = Oracle(pipeline, lines).run()
        assert report.outcome == "finished", report.reason
        assert [[step[name] for name in FIELDS] for step in report.steps] == expected.steps
        assert read_output(job.folders) == expected.landed
        asked = [counts for plan, counts in zip(pipeline, expected.counts[1:], strict=False) if plan.kind == "generate"]
        assert len(far.billed) == sum(counts["passed"] for counts in asked)
        failed = read_failed(job.folders)
        assert len(failed) == report.records["skipped"] + report.records["quarantined"]
        check_folders(job.folders)
        if any(plan.kind == "take" for plan in pipeline):
            return
        Switch.fails = False
        report = await run_job(job, far, retry=True)
        expected = Oracle(pipeline, lines).run()
        assert [[step[name] for name in FIELDS] for step in report.steps] == expected.steps
        assert sorted(map(repr, read_output(job.folders))) == sorted(map(repr, expected.landed))
        assert len(read_failed(job.folders)) == sum(isinstance(line, str) for line in lines)
        check_folders(job.folders)


@settings(max_examples=25)
@given(
    pipeline=pipelines.filter(is_job),
    lines=sources,
    at=st.integers(1, 90),
    moment=st.sampled_from(["before", "half", "after"]),
    retry=st.booleans(),
)
async def test_any_pipeline_that_was_ended(
    pipeline: list[Plan], lines: list[Any], at: int, moment: Moment, retry: bool
) -> None:
    """At some durable operation of the run, or of a retry after it, and resumed: the same rows and books."""
    retry = retry and not any(plan.kind == "take" for plan in pipeline)
    with tempfile.TemporaryDirectory() as place:
        folder, far = Path(place), far_side(pipeline)
        write_parts(folder, lines)
        whole, ended = job_of(folder / "whole", pipeline, folder), job_of(folder / "ended", pipeline, folder)
        Switch.fails = True
        if retry:
            await run_job(whole, far)
            await run_job(ended, far)
            Switch.fails = False
        expected = await run_job(whole, far, retry=retry)
        with contextlib.suppress(Crash):
            await run_job(ended, far, StoppingDisk(at, moment), retry=retry)
        report = await run_job(ended, far, retry=retry)
        assert (report.outcome, report.steps) == (expected.outcome, expected.steps)
        assert read_output(ended.folders) == read_output(whole.folders)
        assert describe_failed(read_failed(ended.folders)) == describe_failed(read_failed(whole.folders))
        check_folders(ended.folders)
