"""What bounds memory: sizes of records, and where segments are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, check_folders, make_job, numbered, read_output, run_job, write_records

from tidemill.data.nodes.single import FlatMap, Map
from tidemill.errors import ConfigError
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.ledger.segments import find_number
from tidemill.jobs.records.sizes import estimate_bytes
from tidemill.jobs.spec.job import JobSpec

LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "record",
    [
        {"text": LONG},
        {"messages": [{"role": "user", "content": LONG}]},
        {"deep": [[[[{"at": (LONG,)}]]]]},
        [LONG],
        {"many": [{"number": 0.5} for _ in range(10_000)]},
        {"numbers": [0.5] * 50_000},
    ],
    ids=["flat", "nested", "deep", "no record", "many containers", "many numbers"],
)
def test_what_a_record_holds_counts(record: Any) -> None:
    """At any depth, also where there is too much to look at each."""
    assert 1_000_000 <= estimate_bytes(record) < 4_000_000


@pytest.mark.parametrize("limit", ["records", "size_bytes", "age_s"])
def test_a_segment_of_nothing_is_refused(limit: str) -> None:
    """No stretch would ever be small enough."""
    with pytest.raises(ConfigError, match=f"`{limit}`: expected an? [a-z]+ >"):
        SegmentLimits(**{limit: 0})


def count_parts(job: JobSpec) -> int:
    return sum(find_number(path.name) is not None for path in job.folders.output.iterdir())


async def test_segments_are_cut_by_what_landed(tmp_path: Path) -> None:
    """Children count as rows, and what steps make counts as bytes."""
    write_records(tmp_path / "records.jsonl", numbered(40))

    def fan_out(record: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**record, "child": number} for number in range(50)]

    def grow(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "nested": [{"text": "x" * 100_000}]}

    rows = make_job(tmp_path, [ask(), FlatMap(fn=fan_out)], sink={"segment": {"records": 100}})
    size = make_job(tmp_path, [ask(), Map(fn=grow)], sink={"path": "size", "segment": {"size_bytes": 500_000}})
    for job, landed in ((rows, 2_000), (size, 40)):
        await run_job(job, FarSide())
        assert len(read_output(job.folders)) == landed
        check_folders(job.folders)
        assert count_parts(job) > 1
