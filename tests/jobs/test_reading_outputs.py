"""A pattern over an output folder reads the output: what the manifest names, which is then what a job comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest
from workbench import FarSide, ask, label, make_job, numbered, run_job, write_records

import tidemill as tm
from tidemill.data.files.path import parse_path
from tidemill.data.nodes.keeping import Join
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.errors import DataError, StateError
from tidemill.jobs.running.lineage import trace_lineage
from tidemill.jobs.spec.job import JobSpec

SEALED = ("part-00001.jsonl", "part-00002.jsonl")
LEFT = ("part-00003.jsonl", "part-00003.jsonl.tmp")


async def land(folder: Path, name: str = "out", count: int = 20) -> str:
    """A job's output of two parts, or one more, beside what a killed run leaves; gives its version."""
    write_records(folder / "records.jsonl", numbered(count))
    job = make_job(folder, [label()], sink={"path": name})
    await run_job(job, FarSide())
    for left in LEFT:
        if not (job.folders.output / left).exists():
            shutil.copy(job.folders.output / SEALED[0], job.folders.output / left)
    return tm.dataset(job.folders.output).version


def names(*patterns: str | Path) -> list[str]:
    return [name.rpartition("/")[2] for name in Read(path=tuple(map(str, patterns))).parts()]


async def test_what_a_killed_run_left_is_passed_over(tmp_path: Path) -> None:
    """By every way that names it together with others."""
    await land(tmp_path)
    out = tmp_path / "out"
    for pattern in (out, out / "*.jsonl", out / "part-*.jsonl", tmp_path / "*/p*.jsonl", tmp_path / "**/part-*.jsonl"):
        assert names(pattern) == list(SEALED)
    assert tuple(Read(path=str(out / "part-*"), format="jsonl").parts()) == SEALED
    assert [record["id"] for record in tm.read(out / "*.jsonl")] == list(range(20))


async def test_a_file_named_outright_is_read(tmp_path: Path) -> None:
    """It stands at its place among patterns, too."""
    await land(tmp_path)
    left = tmp_path / "out" / LEFT[0]
    assert names(left) == [LEFT[0]]
    assert next(iter(tm.read(left)))["id"] == 0
    assert names(tmp_path / "out/*.jsonl", left) == [*SEALED, LEFT[0]]
    assert names(left, tmp_path / "out/*.jsonl") == [LEFT[0], *SEALED]


async def test_other_files_are_no_leftovers(tmp_path: Path) -> None:
    """What is named otherwise, and parts in a folder that no run wrote."""
    await land(tmp_path)
    write_records(tmp_path / "out" / "notes.jsonl", numbered(1))
    assert names(tmp_path / "out/*.jsonl") == ["notes.jsonl", *SEALED]
    (tmp_path / "out" / "_manifest.json").unlink()
    assert names(tmp_path / "out/part-*.jsonl") == [*SEALED, LEFT[0]]


async def test_leftovers_alone_are_told(tmp_path: Path) -> None:
    await land(tmp_path)
    with pytest.raises(DataError, match="no file matches that a manifest names; the last of the others is `part-00003"):
        names(tmp_path / "out/part-00003*.jsonl")


@pytest.mark.parametrize("gone", SEALED)
async def test_a_part_that_is_gone_is_told(tmp_path: Path, gone: str) -> None:
    """By each way that means it, at its place; it is no fault of what is in front, or meant alone."""
    await land(tmp_path)
    out = tmp_path / "out"
    (out / gone).unlink()
    other = next(name for name in SEALED if name != gone)
    for pattern in (out, out / "*.jsonl", out / "part-*.jsonl", tmp_path / "*/p*.jsonl", tmp_path / "**/part-*.jsonl"):
        with pytest.raises(StateError, match=f"{gone}: the part `{gone}` is gone, which the manifest beside it names"):
            names(pattern)
    listed: list[str] = []
    with pytest.raises(StateError, match="is gone"):
        listed.extend(Read(path=str(out / "*.jsonl")).parts())
    assert listed == list(SEALED[: SEALED.index(gone)])
    assert names(out / f"*{other[-7:]}") == names(out / other) == [other]
    with pytest.raises(StateError, match="is gone"):
        await run_job(over(tmp_path, "out"), FarSide())


async def test_parts_in_front_of_where_reading_starts_are_not_missed(tmp_path: Path) -> None:
    """A state stands behind them; what is to come is looked for."""
    await land(tmp_path)
    source = Read(path=str(tmp_path / "out"))
    (tmp_path / "out" / SEALED[0]).unlink()
    assert list(source.parts(SEALED[1])) == [SEALED[1]]
    (tmp_path / "out" / SEALED[0]).write_bytes((tmp_path / "out" / SEALED[1]).read_bytes())
    (tmp_path / "out" / SEALED[1]).unlink()
    with pytest.raises(StateError, match="is gone"):
        list(source.parts(SEALED[0]))


async def test_a_part_that_is_sealed_while_files_are_listed_is_not_missed(tmp_path: Path) -> None:
    """The manifest is newer than the list then."""
    await land(tmp_path)
    write_records(tmp_path / "out" / "a.jsonl", numbered(1))
    (tmp_path / "out" / SEALED[1]).rename(tmp_path / "hidden.jsonl")
    listed = iter(Read(path=str(tmp_path / "out" / "*.jsonl")).parts())
    assert next(listed) == "a.jsonl"  # the folder is listed
    (tmp_path / "hidden.jsonl").rename(tmp_path / "out" / SEALED[1])
    assert list(listed) == [SEALED[0]]


async def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Without it nobody knows which parts are whole."""
    await land(tmp_path)
    (tmp_path / "out" / "_manifest.json").write_text("{}")
    with pytest.raises(StateError, match="expected the manifest of a run"):
        names(tmp_path / "out/*.jsonl")


async def test_a_job_over_a_pattern_goes_on_with_the_output(tmp_path: Path) -> None:
    """What was left over is a part once the run that it is of has gone on."""
    await land(tmp_path)
    job = make_job(tmp_path, [ask()], source="out/*.jsonl", sink={"path": "again"})
    far = FarSide()
    await run_job(job, far)
    assert len(far.billed) == 20
    latest = await land(tmp_path, count=30)
    await run_job(job, far)
    assert len(far.billed) == 30
    assert [parent.hash for parent in trace_lineage(tmp_path / "again").parents] == [latest]


def over(folder: Path, source: str | Read | RowFiles) -> JobSpec:
    return make_job(folder, [ask("Again: {{ text }}")], source=source, sink={"path": "again"})


@pytest.mark.parametrize(
    "source", ["*/p*.jsonl", "o*/**/*.jsonl", "out", "out/part-00001.jsonl", ["out", "more.jsonl"]]
)
async def test_the_parents_are_the_outputs_that_were_read(tmp_path: Path, source: str) -> None:
    """Wherever the pattern begins, and none beside it."""
    version = await land(tmp_path)
    write_records(tmp_path / "more.jsonl", numbered(1))
    (tmp_path / "_manifest.json").write_bytes((tmp_path / "out" / "_manifest.json").read_bytes())
    await run_job(over(tmp_path, source), FarSide())
    assert [(each.dataset, each.hash) for each in trace_lineage(tmp_path / "again").parents] == [
        (str(tmp_path / "out"), version)
    ]


async def test_a_pattern_over_several_outputs_has_as_many_parents(tmp_path: Path) -> None:
    """One that is read twice stands once."""
    for name, count in (("out-a", 20), ("out-b", 30)):
        await land(tmp_path, name, count)
    other = Read(path=str(tmp_path / "out-a/part-00001.jsonl"))
    job = make_job(
        tmp_path,
        [Join(other=other, on={"id": "id"}, how="semi"), ask()],
        source="out-*/*.jsonl",
        sink={"path": "again"},
    )
    await run_job(job, FarSide())
    assert [Path(each.dataset).name for each in trace_lineage(tmp_path / "again").parents] == ["out-a", "out-b"]


async def test_one_part_as_a_dataset_has_its_output_as_a_parent(tmp_path: Path) -> None:
    version = await land(tmp_path)
    await run_job(over(tmp_path, RowFiles(dataset=str(tmp_path / "out" / SEALED[0]))), FarSide())
    assert [each.hash for each in trace_lineage(tmp_path / "again").parents] == [version]


async def test_an_output_elsewhere_is_read_alike(tmp_path: Path) -> None:
    """A folder that was copied to an object store keeps its manifest, and is a parent from there."""
    version = await land(tmp_path)
    far = fsspec.filesystem("memory")
    far.put(str(tmp_path / "out"), "memory://copied/out", recursive=True)
    try:
        source = Read(path="memory://copied/*/part-*.jsonl")
        assert list(source.parts()) == [f"out/{name}" for name in SEALED]
        await run_job(over(tmp_path, source), FarSide())
        parents = trace_lineage(tmp_path / "again").parents
        assert [(each.dataset, each.hash, each.rows) for each in parents] == [
            (str(parse_path("memory://copied/out")), version, 20)
        ]
    finally:
        far.rm("/copied", recursive=True)
