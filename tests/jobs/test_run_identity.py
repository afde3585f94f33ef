"""Whose run folder, output and source these are: what goes on, and what is refused."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from victim import BLOCKED, read_line, start
from workbench import (
    FarSide,
    ask,
    check_folders,
    ids,
    label,
    labels,
    load_manifest,
    load_segments,
    make_job,
    make_model,
    numbered,
    read_output,
    refuse,
    run_job,
    write_records,
)

from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.single import Filter
from tidemill.data.sources.iterable import FromIterable
from tidemill.disk import Disk
from tidemill.errors import ConfigError, DataError, ResourceError, StateError
from tidemill.job import Job
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.opening.run import open_run
from tidemill.jobs.running.inspect import read_job_file
from tidemill.jobs.spec.job import JobSpec
from tidemill.resources.scope import Scope
from tidemill.stores import LanceDB
from tidemill.stores.steps.index import Index
from tidemill.testing import FaultProcess, error_response


def is_even(record: dict[str, Any]) -> bool:
    return bool(record["id"] % 2 == 0)


def is_odd(record: dict[str, Any]) -> bool:
    return bool(record["id"] % 2 == 1)


async def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    """Run again: no call, the same output, and the report says that it went on."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    job, far = labels(tmp_path), FarSide()
    first = await run_job(job, far)
    again = await run_job(job, far)
    assert (first.outcome, first.exit_code, first.before, first.done) == ("finished", 0, 0, 30)
    assert (again.outcome, again.exit_code, again.before, again.done) == ("finished", 0, 30, 30)
    assert again.run_id == first.run_id
    assert len(far.billed) == 30
    assert ids(job) == list(range(30))


async def test_a_limit_that_a_finished_run_is_beyond_is_not_reached_again(tmp_path: Path) -> None:
    """There is nothing that it could go on with; one short of the source's end was reached, and is told as that."""
    write_records(tmp_path / "records.jsonl", numbered(9))
    job, far = labels(tmp_path), FarSide()
    outcomes = [(await run_job(job, far, limit=limit)).outcome for limit in (5, 5, 9, 30, 5)]
    assert outcomes == ["limit", "limit", "limit", "finished", "finished"]
    assert len(far.billed) == 9


def test_two_processes_on_one_run_folder(tmp_path: Path) -> None:
    """The second is refused at once; the first is not disturbed, and what it holds is freed by its death."""
    write_records(tmp_path / "records.jsonl", numbered(40))
    with FaultProcess() as server:
        with start(tmp_path, server.base_url, "rename", "part-*", "before") as first:
            assert read_line(first) == BLOCKED
            with start(tmp_path, server.base_url) as second:
                assert "another process is running on this run folder" in second.communicate()[0]
                assert second.returncode != 0
        with start(tmp_path, server.base_url) as third:
            assert third.wait() == 0
        assert set(server.billed_bodies.values()) == {1}


async def test_another_job_is_refused_with_what_differs(tmp_path: Path) -> None:
    """Each field that changed is named, with what it was and is; nothing is called or written."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    far = FarSide()
    await run_job(make_job(tmp_path, [Filter(fn=is_even), ask("Label: {{ text }}")]), far)
    changed = make_job(tmp_path, [Filter(fn=is_odd), ask("Sort: {{ text }}", temperature=0.5)])
    far.forget()
    with pytest.raises(StateError, match="this run folder belongs to another job") as refused:
        await run_job(changed, far)
    text = str(refused.value)
    assert 'steps[1].prompt: was "Label: {{ text }}", is "Sort: {{ text }}"' in text
    assert "steps[1].temperature: was not there, is 0.5" in text
    assert "steps[0].fn" in text
    assert "--reuse" in text
    assert "--fresh" in text
    assert far.billed == []


async def stop_at_once(job: JobSpec) -> str:
    """The id of a run of `job` that stopped before anything was done: no model of that name."""
    report = await run_job(job, FarSide(lambda question: error_response(404, "no such model")))
    assert (report.outcome, report.exit_code, report.done) == ("failed", 3, 0)
    return report.run_id


async def test_a_run_in_which_nothing_is_done_takes_the_mended_job(tmp_path: Path) -> None:
    """Again and again, until something is done; `check` lets it through, and what landed is the mended job's."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    mended = make_job(tmp_path, [ask("Sort: {{ text }}")])
    stopped = {await stop_at_once(labels(tmp_path)), await stop_at_once(make_job(tmp_path, [ask("Rate: {{ text }}")]))}
    Job(mended).check()
    far = FarSide()
    report = await run_job(mended, far)
    assert (report.outcome, len(far.billed), ids(mended)) == ("finished", 5, list(range(5)))
    assert report.run_id not in stopped
    assert len(stopped) == 2
    check_folders(mended.folders)
    for refuse_it in (Job(labels(tmp_path)).check, Job(labels(tmp_path)).run):
        with pytest.raises((StateError, ConfigError), match="this run folder belongs to another job"):
            refuse_it()


async def test_a_run_that_may_have_done_something_takes_no_other_job(tmp_path: Path) -> None:
    """A sitting that was killed may have put records into a store, and one that reuses replies was told of them."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    mended = make_job(tmp_path, [ask("Sort: {{ text }}")])
    await stop_at_once(labels(tmp_path))
    async with Scope() as scope:  # as a kill leaves it
        open_run(labels(tmp_path), scope, Disk())
    with pytest.raises(StateError, match="this run folder belongs to another job"):
        await run_job(mended, FarSide())
    old = make_job(tmp_path, [label()], sink={"path": "old"})
    await run_job(old, FarSide())
    reusing = make_job(tmp_path, [label(max_tokens=65)], sink={"path": "new"})
    await run_job(reusing, FarSide(lambda question: error_response(404, "no such model")), reuse=str(tmp_path / "old"))
    with pytest.raises(StateError, match="this run folder belongs to another job"):
        await run_job(make_job(tmp_path, [label(max_tokens=66)], sink={"path": "new"}), FarSide())


@pytest.mark.usefixtures("lance_opened_once")
async def test_a_store_that_was_opened_may_hold_records(tmp_path: Path) -> None:
    """The run that put them there takes no other job, though nothing is sealed."""
    write_records(tmp_path / "records.jsonl", [{"id": number, "embedding": [1.0, 0.0]} for number in range(3)])
    index = Index(store=LanceDB(path="kb", dimensions=2), id="{{ id }}")
    far = FarSide(lambda question: error_response(404, "no such model"))
    report = await run_job(make_job(tmp_path, [index, ask("Rate: {{ id }}")]), far)
    assert (report.outcome, report.done) == ("failed", 0)
    with pytest.raises(StateError, match="this run folder belongs to another job"):
        await run_job(make_job(tmp_path, [index, ask("Sort: {{ id }}")]), FarSide())


async def test_check_tells_what_the_next_run_would_refuse(tmp_path: Path) -> None:
    """In the same words, as a problem of the key that names the folder; and lets through what would go on."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    await run_job(labels(tmp_path), FarSide(), limit=20)
    Job(labels(tmp_path, max_errors=3)).check()
    changed = make_job(tmp_path, [label(max_tokens=65)])
    for refused in (
        changed,
        labels(tmp_path, run={"dir": "run"}),
        labels(tmp_path, run={"dir": "."}),
        labels(tmp_path, run={"dir": "out"}),
    ):
        with pytest.raises((StateError, ConfigError), match=r"belongs to|holds|is the output folder") as told:
            await run_job(refused, FarSide())
        with pytest.raises(ConfigError, match=re.escape(told.value.message.splitlines()[0])) as caught:
            Job(refused).check()
        [problem] = caught.value.problems
        assert problem.message == f"{told.value.where}: {told.value.message}"
        assert problem.hint == told.value.hint
    with pytest.raises(ConfigError, match=r"what differs:\n +steps\[0\]\.max_tokens: was 64, is 65"):
        Job(changed).check()
    part = tmp_path / "out" / "part-00001.jsonl"
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(ConfigError, match=r"part-00001\.jsonl has \d+ bytes, and was sealed with \d+"):
        Job(labels(tmp_path)).check()


async def test_check_of_a_new_job_tells_whose_output_stands_there(tmp_path: Path) -> None:
    """Parts of no known run, and those of a run whose folder is gone."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    await run_job(labels(tmp_path), FarSide())
    shutil.rmtree(tmp_path / "out" / ".run")
    with pytest.raises(ConfigError, match=r"the output folder belongs to run \w+, whose run folder \.run is gone"):
        Job(labels(tmp_path)).check()
    (tmp_path / "out" / "_manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"holds 1 parts of no known run, the first part-00001\.jsonl"):
        Job(labels(tmp_path)).check()


async def test_check_takes_no_lock(tmp_path: Path) -> None:
    """While the run goes on it finds what there is to find, and disturbs nothing."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    await run_job(labels(tmp_path), FarSide(), limit=20)
    with open_ledger(labels(tmp_path).folders.ledger, Disk()):
        Job(labels(tmp_path)).check()
        with pytest.raises(ConfigError, match="this run folder belongs to another job"):
            Job(make_job(tmp_path, [label(max_tokens=65)])).check()


async def test_runtime_fields_may_change(tmp_path: Path) -> None:
    """Limits, budget, price, base_url, key and max_errors are no part of a run's identity."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    far = FarSide()
    await run_job(labels(tmp_path), far, limit=10)
    model = make_model(base_url="http://other.invalid/v1", price=None, api_key="another-key-0123456789")
    job = make_job(tmp_path, [label(model=model)], max_errors=3, budget={"calls": 1_000})
    report = await run_job(job, far)
    assert (report.before, report.done, len(far.billed)) == (10, 30, 30)


async def test_another_runs_output_is_refused(tmp_path: Path) -> None:
    """An output folder belongs to one run, wherever the run folders are."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    far = FarSide()
    first = await run_job(labels(tmp_path, run={"dir": "runs/a"}), far)
    with pytest.raises(StateError, match=f"the output folder belongs to run {first.run_id}"):
        await run_job(labels(tmp_path, run={"dir": "runs/b"}), far)
    await run_job(labels(tmp_path, run={"dir": "runs/c"}, sink={"path": "other"}), far)
    with pytest.raises(StateError, match=f"the output folder belongs to run {first.run_id}, this run folder is of"):
        await run_job(labels(tmp_path, run={"dir": "runs/c"}), far)


async def test_parts_of_no_known_run_are_refused(tmp_path: Path) -> None:
    """Without a manifest or a ledger that knows them, parts are somebody's: they stay."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    stray = write_records(tmp_path / "out" / "part-00001.jsonl", numbered(2))
    with pytest.raises(StateError, match=r"holds 1 parts of no known run, the first part-00001\.jsonl"):
        await run_job(labels(tmp_path), FarSide())
    assert stray.exists()


async def test_a_run_folder_whose_output_is_elsewhere_is_refused(tmp_path: Path) -> None:
    """With another sink.path the sealed parts are not there: nothing may be lost silently."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    far = FarSide()
    await run_job(labels(tmp_path, run={"dir": "run"}), far, limit=20)
    with pytest.raises(StateError, match=r"part-00001\.jsonl is not in the output folder"):
        await run_job(labels(tmp_path, run={"dir": "run"}, sink={"path": "elsewhere"}), far)
    assert not (tmp_path / "elsewhere" / "_manifest.json").exists()


async def test_a_run_whose_folder_was_moved_goes_on(tmp_path: Path) -> None:
    """The output folder with the run folder in it may be renamed."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    far = FarSide()
    await run_job(labels(tmp_path), far, limit=20)
    shutil.move(tmp_path / "out", tmp_path / "moved")
    job = labels(tmp_path, sink={"path": "moved"})
    report = await run_job(job, far)
    assert (report.before, len(far.billed), ids(job)) == (20, 30, list(range(30)))


async def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    """A sealed part that was cut or removed is told, not papered over."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    far = FarSide()
    await run_job(labels(tmp_path), far, limit=20)
    part = tmp_path / "out" / load_manifest(labels(tmp_path).folders)["parts"][0]["name"]
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(StateError, match=r"part-00001\.jsonl has \d+ bytes, and was sealed with \d+"):
        await run_job(labels(tmp_path), far)


async def test_a_source_that_grew_is_continued(tmp_path: Path) -> None:
    """100 records appended: 100 are billed, behind what is sealed; a new file comes after."""
    source = write_records(tmp_path / "in" / "b.jsonl", numbered(50))
    job, far = labels(tmp_path, source="in/*.jsonl"), FarSide()
    await run_job(job, far)
    write_records(source, numbered(150, 50), append=True)
    far.forget()
    report = await run_job(job, far)
    assert (len(far.billed), report.before, report.done) == (100, 50, 150)
    write_records(tmp_path / "in" / "a.jsonl", numbered(170, 150))
    far.forget()
    await run_job(job, far)
    assert (len(far.billed), ids(job)) == (20, list(range(170)))
    check_folders(job.folders)


async def test_files_that_come_while_a_run_is_unfinished_wait_their_turn(tmp_path: Path) -> None:
    """The order a run began with stays, whatever the names of new files sort before."""
    write_records(tmp_path / "in" / "b.jsonl", numbered(20))
    write_records(tmp_path / "in" / "c.jsonl", numbered(40, 20))
    job, far = labels(tmp_path, source="in/*.jsonl"), FarSide()
    await run_job(job, far, limit=30)
    write_records(tmp_path / "in" / "a.jsonl", numbered(50, 40))
    write_records(tmp_path / "in" / "b.jsonl", numbered(60, 50), append=True)
    await run_job(job, far)
    assert ids(job) == list(range(60))
    assert len(far.billed) == 60


async def test_an_edited_source_is_refused(tmp_path: Path) -> None:
    """Before the point up to which it is done nothing may have changed; both ways out are told."""
    source = write_records(tmp_path / "records.jsonl", numbered(30))
    job, far = labels(tmp_path), FarSide()
    await run_job(job, far, limit=20)
    whole = source.read_bytes()
    source.write_bytes(whole.replace(b"review 3.", b"review X."))
    with pytest.raises(StateError, match=r"records\.jsonl: edited before the point it was read to") as refused:
        await run_job(job, far)
    assert "--reuse" in str(refused.value)
    source.write_bytes(whole)
    await run_job(job, far)
    assert len(far.billed) == 30


async def test_an_edit_behind_what_is_done_is_taken(tmp_path: Path) -> None:
    """What was read ahead of it does not count: the record is asked as it is now."""
    source = write_records(tmp_path / "records.jsonl", numbered(60))
    job, far = labels(tmp_path), FarSide()
    await run_job(job, far, limit=20)
    source.write_bytes(source.read_bytes().replace(b"review 42.", b"review X."))
    report = await run_job(job, far)
    assert (report.outcome, report.before, len(far.billed)) == ("finished", 20, 60)
    assert read_output(job.folders)[42]["text"] == "review X."


@pytest.mark.parametrize("packed", [True, False])
async def test_a_file_that_was_cut_and_is_whole_now(tmp_path: Path, packed: bool) -> None:
    """A `.gz` is gone on with, the line that was cut included; of a plain file it is said, with the ways out."""
    source = tmp_path / ("records.jsonl.gz" if packed else "records.jsonl")
    save_jsonl([{"id": n, "text": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(200)], source)
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    job, far = labels(tmp_path, source=source.name), FarSide()
    cut = await run_job(job, far)
    assert (cut.outcome, cut.records["quarantined"], cut.done < 150) == ("finished", 1, True)
    source.write_bytes(whole)
    if not packed:
        with pytest.raises(StateError, match="was cut in the middle of a line when it was read") as refused:
            await run_job(job, far)
        assert "--reuse" in str(refused.value)
        return
    report = await run_job(job, far)
    assert (report.outcome, report.before, len(far.billed)) == ("finished", cut.done, 200)
    assert ids(job) == list(range(200))


async def test_a_mended_file_that_is_one_record(tmp_path: Path) -> None:
    """It was read whole, and is another record now: put back, it lets the run take the mended one under a new name."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("review 1.")
    (folder / "b.txt").write_text("revi")
    job, far = labels(tmp_path, source="in/*.txt", read={"whole": True}), FarSide()
    await run_job(job, far)
    (folder / "b.txt").write_text("review 2.")
    with pytest.raises(StateError, match=r"b\.txt: edited before the point it was read to") as refused:
        await run_job(job, far)
    assert "under another name" in str(refused.value)
    (folder / "b.txt").rename(folder / "c.txt")
    (folder / "b.txt").write_text("revi")
    await run_job(job, far)
    assert [Path(record["path"]).name for record in read_output(job.folders)] == ["a.txt", "b.txt", "c.txt"]


async def test_a_removed_file_is_refused(tmp_path: Path) -> None:
    """It is named; when it is back the run goes on."""
    for name in ("a", "b"):
        write_records(tmp_path / "in" / f"{name}.jsonl", numbered(10))
    job, far = labels(tmp_path, source="in/*.jsonl"), FarSide()
    await run_job(job, far)
    (tmp_path / "in" / "a.jsonl").rename(tmp_path / "a.jsonl")
    with pytest.raises(StateError, match=r"a\.jsonl: gone"):
        await run_job(job, far)


async def test_a_source_that_matches_nothing_writes_nothing(tmp_path: Path) -> None:
    """The error comes before any folder."""
    with pytest.raises(DataError, match=r"no file matches `records\.jsonl`"):
        await run_job(labels(tmp_path), FarSide())
    assert os.listdir(tmp_path) == []


async def test_a_ledger_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file of that name that somebody else wrote is not touched."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    ledger = write_records(tmp_path / "out" / ".run" / "ledger.sqlite", ["not a database, and long enough to tell"] * 9)
    with pytest.raises(ResourceError, match="this is not a ledger"):
        await run_job(labels(tmp_path), FarSide())
    assert ledger.read_text().startswith("not a database")


async def test_files_of_a_seal_that_died_are_removed(tmp_path: Path) -> None:
    """Those of the number that comes next, finished or not, in each of the folders; nothing else is touched."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    job, far = labels(tmp_path), FarSide(refuse("review 3."))
    await run_job(job, far, limit=20)
    run, name = job.folders.run, f"part-{len(load_segments(job.folders)) + 1:05}.jsonl"
    strays = [
        tmp_path / "out" / name,
        tmp_path / "out" / f"{name}.tmp",
        run / "quarantine" / name,
        run / "calls" / f"{name}.zst.tmp",
    ]
    for stray in strays:
        write_records(stray, numbered(1))
    own = write_records(tmp_path / "out" / "notes.txt", ["mine"])
    report = await run_job(job, far, limit=20)
    assert (report.outcome, [stray.exists() for stray in strays]) == ("limit", [False] * 4)
    assert own.exists()
    own.unlink()
    check_folders(job.folders)


async def test_commands_find_a_job_that_was_moved(tmp_path: Path) -> None:
    """The run folder names the job file and the output as they were last run."""
    write_records(tmp_path / "records.jsonl", numbered(12))
    far = FarSide()
    await run_job(labels(tmp_path, file=tmp_path / "old.yaml", run={"dir": "run"}), far, limit=5)
    shutil.move(tmp_path / "out", tmp_path / "moved")
    job = labels(tmp_path, file=tmp_path / "new.yaml", run={"dir": "run"}, sink={"path": "moved"})
    await run_job(job, far)
    assert read_job_file(job.folders) == (tmp_path / "new.yaml", [])
    assert locate_run(tmp_path / "run").output == tmp_path / "moved"
    assert locate_run(tmp_path / "moved").run == tmp_path / "run"
    await run_job(labels(tmp_path, run={"dir": "run"}, sink={"path": "moved"}), far)
    assert read_job_file(job.folders) == (tmp_path / "new.yaml", [])


@pytest.mark.parametrize("fresh", [False, True])
async def test_parts_in_another_output_folder_stay(tmp_path: Path, fresh: bool) -> None:
    """A named run folder whose sink.path is changed to a folder with somebody's parts: refused, nothing is deleted."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    far = FarSide()
    await run_job(labels(tmp_path, run={"dir": "run"}), far, limit=10 if fresh else 0)
    own = [write_records(tmp_path / "data" / f"part-0000{number}.jsonl", numbered(2)) for number in (1, 2)]
    with pytest.raises(StateError, match=r"holds 2 parts of no known run, the first part-00001\.jsonl"):
        await run_job(labels(tmp_path, run={"dir": "run"}, sink={"path": "data"}), far, fresh=fresh)
    assert all(path.exists() for path in own)
    assert len(read_output(labels(tmp_path, run={"dir": "run"}).folders)) == (10 if fresh else 0)


async def test_parts_among_a_runs_own_are_refused(tmp_path: Path) -> None:
    """A part that the run neither sealed nor was sealing is somebody's."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    await run_job(labels(tmp_path), FarSide(), limit=20)
    own = write_records(tmp_path / "out" / "part-00007.jsonl", numbered(2))
    with pytest.raises(StateError, match=r"holds 1 parts of no known run, the first part-00007\.jsonl"):
        await run_job(labels(tmp_path), FarSide())
    assert own.exists()


async def test_a_run_folder_that_is_the_output_folder_is_refused(tmp_path: Path) -> None:
    """It would be taken for a run at one time and for an output at another."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    with pytest.raises(ConfigError, match="the run folder is the output folder"):
        await run_job(labels(tmp_path, run={"dir": "./out"}), FarSide())
    assert not (tmp_path / "out").exists()


async def test_a_run_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """A folder with files in it is not made a run folder."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    with pytest.raises(StateError, match=r"as run folder; this one holds 'records\.jsonl'"):
        await run_job(labels(tmp_path, run={"dir": "."}), FarSide())
    assert os.listdir(tmp_path) == ["records.jsonl"]


@pytest.mark.parametrize("fields", [{"sink": {"path": "s3://bucket/out"}}, {"run": {"dir": "s3://bucket/run"}}])
def test_addresses_are_no_folders(tmp_path: Path, fields: dict[str, Any]) -> None:
    """They would become folders of that name."""
    with pytest.raises((ConfigError, ValidationError), match="expected a local folder, got `s3://bucket/"):
        labels(tmp_path, **fields)


async def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Named as it can be shown, before anything is written."""
    write_records(tmp_path / "in" / "a.jsonl", numbered(2))
    os.rename(tmp_path / "in" / "a.jsonl", os.fsencode(tmp_path) + b"/in/a\xff.jsonl")
    with pytest.raises(DataError, match=r"expected file names in UTF-8, got `a\\xff\.jsonl`"):
        await run_job(labels(tmp_path, source="in/*.jsonl"), FarSide())


async def test_growth_behind_a_take_is_refused(tmp_path: Path) -> None:
    """Read anew, it would have taken others; once it has all it wants, what comes after does not matter."""
    source = write_records(tmp_path / "records.jsonl", numbered(5))
    far = FarSide()
    job = make_job(tmp_path, [Take(count=8), label()])
    await run_job(job, far)
    write_records(source, numbered(10, 5), append=True)
    with pytest.raises(
        StateError, match=r"records\.jsonl: grew, and a step before the first call looks across records"
    ):
        await run_job(job, far)
    full = make_job(tmp_path, [Take(count=8), label()], sink={"path": "full"})
    await run_job(full, far)
    write_records(source, numbered(15, 10), append=True)
    assert (await run_job(full, far)).outcome == "finished"
    assert ids(full) == list(range(8))


async def test_another_list_is_refused(tmp_path: Path) -> None:
    """Any edit in front of what is done tells; one that grew is gone on from."""

    def listed(records: list[Any]) -> JobSpec:
        return make_job(tmp_path, [label()], source=FromIterable(iterable=records))

    far = FarSide()
    await run_job(listed(numbered(5)), far)
    for other in (numbered(15, 10), numbered(4)):
        with pytest.raises(StateError, match="iterable: edited before the point"):
            await run_job(listed(other), far)
    await run_job(listed(numbered(9)), far)
    assert ids(listed([])) == list(range(9))
