"""What a source holds besides records: quarantined with its place and bytes, and everything else lands."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, check_folders, ids, make_job, numbered, read_failed, run_job, write_records

from tidemill.jobs.spec.job import JobSpec


def job_over(folder: Path, source: str, **fields: Any) -> JobSpec:
    return make_job(folder, [ask("{{ text }}")], source=source, max_errors=20, **fields)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"{corrupt", "not JSON at column 2"),
        (b'{"text": "\xff"}', "invalid UTF-8"),
        (b"[1, 2]", "expected a JSON object, got a list"),
        (b'{"id": 99, "text": "' + b"x" * 2_000 + b'"}', "expected at most 1,000 bytes in a line, got 2,0"),
        (b"null", "expected a JSON object, got null"),
    ],
)
@pytest.mark.parametrize("limits", [(None,), (3, 10, 11, 12, None)])
async def test_a_line_that_is_no_record(
    tmp_path: Path, line: bytes, cause: str, limits: tuple[int | None, ...]
) -> None:
    """In one sitting or in several, of which some end just before or behind the line."""
    lines = [json.dumps(record).encode() for record in numbered(30)]
    (tmp_path / "records.jsonl").write_bytes(b"\n".join([*lines[:10], line, *lines[10:]]))
    job, far = job_over(tmp_path, "records.jsonl", read={"max_line_bytes": 1_000}), FarSide()
    outcomes = [(await run_job(job, far, limit=limit)).outcome for limit in limits]
    assert (outcomes[-1], ids(job), len(far.billed)) == ("finished", list(range(30)), 30)
    (row,) = read_failed(job.folders)
    where = f"{tmp_path / 'records.jsonl'}, byte {sum(len(before) + 1 for before in lines[:10])}"
    assert (row.part, row.ordinal, row.name, row.raw) == ("records.jsonl", 10, "source", line[:1_000])
    assert row.error["message"].startswith(f"{where}: {cause}")


@pytest.mark.parametrize(
    ("line", "is_whole"),
    [
        (b'{"text": "\xff"}', True),
        (b"[1, 2]", True),
        (b'{"id": 99, "text": "' + b"x" * 2_000 + b'"}', False),
    ],
)
async def test_a_retried_line_keeps_its_place_bytes_and_cause(tmp_path: Path, line: bytes, is_whole: bool) -> None:
    """However often; one of which only the head was kept is not taken for that head."""
    (tmp_path / "records.jsonl").write_bytes(b'{"id": 0, "text": "fine"}\n' + line)
    job, far = job_over(tmp_path, "records.jsonl", read={"max_line_bytes": 1_000}), FarSide()
    await run_job(job, far)
    (first,) = read_failed(job.folders)
    note = "" if is_whole else " (not tried again: of what stood there, not all was kept)"
    for _ in range(2):
        await run_job(job, far, retry=True)
        (row,) = read_failed(job.folders)
        assert row == replace(first, error={**first.error, "message": first.error["message"] + note})
    check_folders(job.folders)


@pytest.mark.parametrize("limits", [(None,), (3, 20, None)])
async def test_a_gzip_file_that_is_cut(tmp_path: Path, limits: tuple[int | None, ...]) -> None:
    """What stands in front of the cut lands, and so do the other files."""
    whole = gzip.compress("".join(json.dumps(record) + "\n" for record in numbered(3_000)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    write_records(tmp_path / "b.jsonl", numbered(3_010, 3_000))
    job, far = job_over(tmp_path, "*.jsonl*"), FarSide()
    outcomes = [(await run_job(job, far, limit=limit)).outcome for limit in limits]
    found = ids(job)
    assert 100 < len(found) < 2_500
    assert found == [*range(len(found) - 10), *range(3_000, 3_010)]
    (row,) = read_failed(job.folders)
    assert (row.part, "the gzip stream ends early" in row.error["message"]) == ("a.jsonl.gz", True)
    assert outcomes[-1] == "finished"
    check_folders(job.folders)
    await run_job(job, far, retry=True)
    (again,) = read_failed(job.folders)
    assert (again.raw, again.error["where"]) == (row.raw, row.error["where"])
    assert again.error["message"].startswith(row.error["message"])


async def test_gzip_goes_on_where_it_stood(tmp_path: Path) -> None:
    """Sealed in several sittings, each record once."""
    text = "".join(json.dumps(record) + "\n" for record in numbered(500))
    (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    job, far = job_over(tmp_path, "records.jsonl.gz"), FarSide()
    for limit in (1, 77, 300, None):
        await run_job(job, far, limit=limit)
    assert (ids(job), len(far.billed)) == (list(range(500)), 500)


async def test_records_a_prompt_does_not_fit(tmp_path: Path) -> None:
    """A missing column names what there is; the record is not sent."""
    write_records(tmp_path / "records.jsonl", [*numbered(3), {"id": 3, "txt": "x"}, *numbered(6, 4)])
    job, far = job_over(tmp_path, "records.jsonl"), FarSide()
    report = await run_job(job, far)
    assert (report.records["landed"], len(far.billed)) == (5, 5)
    (row,) = read_failed(job.folders)
    assert "did you mean `txt`" in row.error["message"]
