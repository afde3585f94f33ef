"""What counts against `max_errors`: also in front of steps that hold records back, gather or drop them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench import FarSide, ask, make_job, numbered, refuse, run_job, write_records

import tidemill as tm
from tidemill.data.nodes.across import Batch, Prefetch, Shuffle
from tidemill.data.nodes.keeping import Dedupe, GroupBy, Join, Sort
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, Map
from tidemill.jobs.landing.errors import ErrorCount
from tidemill.jobs.records.counts import DROPPED, EMITTED, IN, PASSED, QUARANTINED, new_counts
from tidemill.jobs.records.outcomes import Failure

RECORDS = 6_000


def check(record: Any) -> Any:
    if record["id"] % 50 == 7:
        raise ValueError("2 %")
    return record


def find_id(record: Any) -> int:
    return int(check(record)["id"])


def is_last(record: Any) -> bool:
    return find_id(record) >= RECORDS - 10


def is_late(record: Any) -> bool:
    return bool(record["id"] >= RECORDS - 10)


def name_group(record: Any) -> dict[str, Any]:
    return {**record, "group": record["id"] % 10, "text": "the same text for all"}


FAILING = Map(fn=check)
GROUPED = Map(fn=name_group)
STEPS: dict[str, list[Node]] = {
    "sort": [Sort(key=find_id)],
    "sort that spills": [Sort(key=find_id, memory=50_000)],
    "sort behind": [FAILING, Sort(key="id", reverse=True)],
    "shuffle behind": [FAILING, Shuffle(seed=1, buffer=RECORDS)],
    "two behind": [FAILING, Sort(key="id", reverse=True), Shuffle(seed=1, buffer=RECORDS)],
    "group_by behind": [FAILING, GROUPED, GroupBy(keys=("group",), agg={"ids": ("list", "id")})],
    "batch behind": [FAILING, Batch(size=RECORDS, form="columns")],
    "dedupe behind": [FAILING, GROUPED, Dedupe(key="group")],
    "near dedupe behind": [FAILING, GROUPED, Dedupe(key="text", near=0.9)],
    "filter": [Filter(fn=is_last)],
    "filter behind": [FAILING, Filter(fn=is_late)],
    "prefetch behind": [FAILING, Prefetch(count=500), Sort(key="id")],
    "threads": [Map(fn=check, on="threads", concurrency=4), Sort(key="id")],
    "threads without order": [Map(fn=check, on="threads", concurrency=4, ordered=False), Sort(key="id")],
    "join behind": [FAILING, Join(other=tm.from_iterable([{"id": RECORDS - 1, "more": 1}]), on="id")],
}


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("max_errors", [0.05, 0.9])
async def test_records_that_pass_count_though_they_stay(kind: str, max_errors: float, tmp_path: Path) -> None:
    """Of 2 % that fail no 5 % are lost, and they are not in a row: what came through with them counts."""
    write_records(tmp_path / "records.jsonl", numbered(RECORDS))
    job = make_job(tmp_path, STEPS[kind], max_errors=max_errors, sink={"segment": {"records": 1_000}})
    report = await run_job(job, FarSide())
    assert (report.outcome, report.reason, report.records["quarantined"]) == ("finished", "", RECORDS // 50)


@pytest.mark.parametrize("kind", STEPS)
async def test_a_lower_bound_stops_and_a_higher_one_goes_on(kind: str, tmp_path: Path) -> None:
    """The verdict follows from what is sealed: the same again, until the bound is another."""
    write_records(tmp_path / "records.jsonl", numbered(RECORDS))
    for max_errors, outcome in ((0.01, "errors"), (0.01, "errors"), (0.05, "finished")):
        job = make_job(tmp_path, STEPS[kind], max_errors=max_errors, sink={"segment": {"records": 1_000}})
        report = await run_job(job, FarSide())
        assert (report.outcome, report.records["quarantined"] < RECORDS // 50) == (outcome, outcome == "errors")
        assert bool(re.match(r"\d+ of \d+ records failed \(2\.\d%\), ", report.reason)) is (outcome == "errors")


async def test_all_failing_in_front_of_a_sort_are_in_a_row(tmp_path: Path) -> None:
    """Nothing passed beside them."""
    write_records(tmp_path / "records.jsonl", numbered(RECORDS))
    report = await run_job(make_job(tmp_path, [Sort(key="gone")], max_errors=0.99), FarSide())
    assert report.reason.startswith("100 records in a row failed; ")


async def test_what_a_filter_drops_ends_no_row_behind_it(tmp_path: Path) -> None:
    """Calls that all fail are in a row, whatever became of other records in front of them."""
    write_records(tmp_path / "records.jsonl", numbered(RECORDS))
    far = FarSide(refuse("review"))
    report = await run_job(make_job(tmp_path, [FAILING, Filter(fn=is_third), ask()], max_errors=0.99), far)
    assert "records in a row failed; the last at `generate`" in report.reason
    assert len(far.transports[0].requests) < 250


def is_third(record: Any) -> bool:
    return bool(record["id"] % 3 == 0)


async def test_groups_that_fail_are_judged_among_groups(tmp_path: Path) -> None:
    """Each place of the job by what came there: 8 of 10 calls failed, whatever number of records was gathered."""
    write_records(tmp_path / "records.jsonl", numbered(RECORDS))
    job = make_job(tmp_path, [*STEPS["group_by behind"], ask("{{ group }}:")], max_errors=0.5)
    report = await run_job(job, FarSide(refuse(*(f"{group}:" for group in range(8)))))
    assert report.reason.startswith(
        "128 records failed: 120 of 6000 at `map`, 8 of 10 in the record half (80.4% in all), max_errors is 0.5; "
    )


@given(st.lists(st.sampled_from(["lands", "fails first", "fails second", "fails behind", "dropped"]), max_size=150))
def test_where_each_record_has_its_end_the_ratio_is_that_of_all(ends: list[str]) -> None:
    """The shares of the places come to the share of all; counted record by record as from the counts."""
    counts = new_counts(5)
    errors, again = (ErrorCount(0.0, ["source", "one", "two", "three", "sink"], first=3) for _ in range(2))
    steps = {"fails first": 1, "fails second": 2, "fails behind": 3}
    for end in ends:
        step = steps.get(end, 3 if end == "dropped" else 5)
        for row in counts[:step]:
            for field in (IN, PASSED, EMITTED):
                row[field] += 1
        if step < 5:
            counts[step][IN] += 1
            counts[step][DROPPED if end == "dropped" else QUARANTINED] += 1
        errors.note(end in ("lands", "dropped"), [Failure(step, ValueError())] if end in steps else [], counts)
    errors.note_chunk(counts)
    again.recount(counts)
    failed = sum(end in steps for end in ends)
    breach = again.find_breach(at_end=True)
    assert (breach is None) is (not failed)
    assert breach is None or f"({failed / len(ends):.1%}" in breach
    in_a_row = errors.find_breach(at_end=True)
    assert in_a_row == breach or (in_a_row is not None and "in a row" in in_a_row)
