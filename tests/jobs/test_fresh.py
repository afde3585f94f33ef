"""`--fresh`: this run's own output and run folder go, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from workbench import (
    FarSide,
    ask,
    check_folders,
    label,
    make_job,
    numbered,
    read_output,
    run_job,
    write_records,
)

from tidemill.errors import StateError
from tidemill.jobs.spec.job import JobSpec


def labels(folder: Path, prompt: str = "Label: {{ text }}", **sink: str) -> JobSpec:
    return make_job(folder, [label(prompt=prompt)], sink=sink, run={"dir": "runs/labels"})


async def test_fresh_begins_anew(tmp_path: Path) -> None:
    """Everything is called again, also for a changed job; nothing of the old run is left."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    far = FarSide()
    first = await run_job(labels(tmp_path), far)
    job = labels(tmp_path, "Sort: {{ text }}")
    report = await run_job(job, far, fresh=True, limit=20)
    assert (report.before, report.done, len(far.billed)) == (0, 20, 50)
    assert report.run_id != first.run_id
    assert len(read_output(job.folders)) == 20
    check_folders(job.folders)


async def test_fresh_of_nothing_is_a_run(tmp_path: Path) -> None:
    """Where no run is, there is nothing to delete."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    assert (await run_job(labels(tmp_path), FarSide(), fresh=True)).outcome == "finished"


async def test_fresh_leaves_what_is_not_the_runs_own(tmp_path: Path) -> None:
    """Files of the user in the output folder, and in a run folder that is no folder of its own, stay."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    await run_job(labels(tmp_path), FarSide())
    own = [
        write_records(tmp_path / "out" / "notes.txt", ["mine"]),
        write_records(tmp_path / "out" / "part-of-a-song.txt", ["mine"]),
        write_records(tmp_path / "runs" / "labels" / "thesis.txt", ["mine"]),
        write_records(tmp_path / "runs" / "labels" / "calls" / "notes.txt", ["mine"]),
    ]
    await run_job(labels(tmp_path), FarSide(), fresh=True)
    assert all(path.exists() for path in own)


async def test_fresh_does_not_touch_another_runs_output(tmp_path: Path) -> None:
    """A sink.path that is now another run's is refused before anything is deleted."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    await run_job(labels(tmp_path), FarSide())
    other = make_job(tmp_path, [ask()], sink={"path": "other"})
    await run_job(other, FarSide())
    rows = read_output(other.folders)
    with pytest.raises(StateError, match="the output folder belongs to run"):
        await run_job(labels(tmp_path, path="other"), FarSide(), fresh=True)
    assert read_output(other.folders) == rows
    assert len(read_output(labels(tmp_path).folders)) == 5


async def test_fresh_of_an_output_whose_run_folder_is_gone(tmp_path: Path) -> None:
    """Without it refused, naming the way; with it what the manifest lists goes, and nothing else."""
    write_records(tmp_path / "records.jsonl", numbered(15))
    job, far = labels(tmp_path), FarSide()
    await run_job(job, far)
    shutil.rmtree(job.folders.run)
    own = write_records(tmp_path / "out" / "notes.txt", ["mine"])
    with pytest.raises(StateError, match=r"whose run folder .* is gone") as refused:
        await run_job(job, far)
    assert "--fresh" in str(refused.value)
    report = await run_job(job, far, fresh=True, limit=5)
    assert (report.done, report.before, len(read_output(job.folders))) == (5, 0, 5)
    assert own.exists()


async def test_fresh_deletes_the_old_output_where_it_was_written(tmp_path: Path) -> None:
    """With another sink.path the sealed parts of the old one go, and nothing in the new one."""
    write_records(tmp_path / "records.jsonl", numbered(15))
    await run_job(labels(tmp_path), FarSide())
    await run_job(labels(tmp_path, path="other"), FarSide(), fresh=True)
    assert list((tmp_path / "out").iterdir()) == []
    check_folders(labels(tmp_path, path="other").folders)
