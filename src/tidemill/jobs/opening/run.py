"""Opening a run: whose folders these are, what is sealed already, and where to go on."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tidemill.config.secrets import is_secret_key
from tidemill.disk import Disk
from tidemill.errors import ConfigError, StateError
from tidemill.jobs.ledger.database import Ledger, open_ledger
from tidemill.jobs.ledger.folder import RUN_FOLDER, RunFolder, locate_run
from tidemill.jobs.ledger.run import OpenRun
from tidemill.jobs.ledger.segments import build_manifest, find_number, next_number, remove_segments, remove_unsealed
from tidemill.jobs.reading.source_half import SourceHalf
from tidemill.jobs.records.chunk import PartPosition, SourceTotals
from tidemill.jobs.records.counts import new_counts
from tidemill.jobs.spec.job import JobSpec, find_differences
from tidemill.protocols import Source
from tidemill.resources.scope import Scope

DELETING = "deleting"
"""What the ledger holds from the moment a `--fresh` deletes its run until nothing is left of it."""

SOURCE_PASS = 0
"""The pass over the source; each `retry` is a pass of its own, numbered from 1."""


def open_run(job: JobSpec, scope: Scope, disk: Disk, *, fresh: bool = False) -> OpenRun:
    """The run of `job`, its ledger locked until `scope` ends; a new one when there is none, or with `fresh`.

    Raises:
        StateError: it runs already, belongs to another job, or its source was edited; says what differs.
        DataError: the source matches nothing.
        ConfigError: the run folder is the output folder.
    """
    names = job.source.parts()
    folder = job.folders
    _check_run_folder(folder)
    if not folder.ledger.exists():
        _check_output(folder, None, fresh=fresh)
    for path in (folder.output, folder.run):
        disk.make_folder(path)
    ledger = scope.enter(open_ledger(folder.ledger, disk))
    _check_output(folder, ledger.load_meta("run"), fresh=fresh, segments=ledger.load_segments())
    if fresh or ledger.load_meta(DELETING, False):
        _delete_run(folder, ledger, disk)
    info = ledger.load_meta("run")
    is_new = info is None
    if info is None:
        info = _start_run(job, folder, ledger, disk)
    _check_same(job, info, folder)
    segments = ledger.load_segments()
    _check_parts(folder, segments)
    placed = {**info, **_describe_place(job, folder)}
    if placed != info:
        info = _save_info(placed, folder, ledger, disk)
    remove_unsealed(folder, disk, segments)
    folder.save_manifest(disk, build_manifest(info, segments))
    totals = ledger.load_meta("source", {"ordinal": 0, "taken": {}})
    half = SourceHalf(job.halves[0], [], totals["taken"])
    positions = _plan_parts(job.source, names, ledger, can_grow=not half.is_whole or half.is_full())
    return OpenRun(
        folder,
        ledger,
        info,
        segments,
        positions,
        ledger.load_meta("counts") or new_counts(len(job.names)),
        {int(key): number for key, number in ledger.load_meta("sealed", {}).items()},
        SourceTotals(totals["ordinal"], totals["taken"]),
        is_new,
    )


def _check_run_folder(folder: RunFolder) -> None:
    """Refuse a run folder that is the output folder, or that holds something else."""
    if os.path.realpath(folder.run) == os.path.realpath(folder.output):
        raise ConfigError(
            "the run folder is the output folder",
            where=str(folder.run),
            hint="leave run.dir out, or name another folder in it",
        )
    if folder.ledger.exists() or not folder.run.is_dir():
        return
    own = (folder.ledger.name, folder.info.name, folder.report.name, folder.status.stem, "quarantine", "calls")
    if foreign := sorted(path.name for path in folder.run.iterdir() if not path.name.startswith(own)):
        raise StateError(
            f"expected a new or empty folder, or a run's, as run folder; this one holds {foreign[0]!r}",
            where=str(folder.run),
            hint="name another folder under run.dir",
        )


def _check_output(
    folder: RunFolder, info: Mapping[str, Any] | None, *, fresh: bool, segments: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Refuse an output folder that another run writes to, or that holds parts this run has not written.

    Args:
        info: the run that the run folder holds, None when it is new.
        fresh: whether the output of a run whose run folder is gone may be deleted.
    """
    manifest = folder.load_manifest()
    known: set[str] = set()
    number: int | None = None
    if manifest is not None and info is not None and manifest["run_id"] == info["run_id"]:
        known, number = _part_names(segments), next_number(segments)
    elif manifest is not None:
        if info is not None or not fresh or _has_run_folder(manifest, folder):
            raise _belongs_elsewhere(manifest, info, folder)
        known = {part["name"] for part in manifest["parts"]}
    elif info is not None and info["output"] == str(folder.output.absolute()):
        known, number = _part_names(segments), next_number(segments)
    found = ((path.name, find_number(path.name)) for path in folder.output.glob("part-*"))
    foreign = sorted(name for name, found in found if found not in (None, number) and name not in known)
    if foreign:
        raise StateError(
            f"the output folder holds {len(foreign)} parts of no known run, the first {foreign[0]}",
            where=str(folder.output),
            hint="write to another folder, or move them away",
        )


def _part_names(segments: Sequence[Mapping[str, Any]]) -> set[str]:
    return {segment["output"]["name"] for segment in segments if "output" in segment}


def _has_run_folder(manifest: Mapping[str, Any], folder: RunFolder) -> bool:
    """Whether the run that the manifest is of still has its ledger."""
    run = folder.output / str(manifest.get("run_folder", RUN_FOLDER))
    return run.resolve() != folder.run.resolve() and (run / folder.ledger.name).exists()


def _belongs_elsewhere(manifest: Mapping[str, Any], info: Mapping[str, Any] | None, folder: RunFolder) -> StateError:
    owner = f"the output folder belongs to run {manifest.get('run_id')}"
    if info is not None:
        message, hint = f"{owner}, this run folder is of run {info['run_id']}", "write to another folder"
    elif _has_run_folder(manifest, folder):
        message = f"{owner}, whose run folder is {manifest.get('run_folder')}"
        hint = "write to another folder, or name that run folder under run.dir"
    else:
        message = f"{owner}, whose run folder {manifest.get('run_folder')} is gone"
        hint = "put the run folder back; or write to another folder; or delete that output with --fresh"
    return StateError(message, where=str(folder.output), hint=hint)


def _start_run(job: JobSpec, folder: RunFolder, ledger: Ledger, disk: Disk) -> dict[str, Any]:
    info = {
        "run_id": uuid.uuid4().hex,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fingerprint": job.fingerprint,
        "description": job.describe(),
        "format": job.sink.format,
        "job_file": None,
        "overrides": [],
        **_describe_place(job, folder),
    }
    return _save_info(info, folder, ledger, disk)


def _describe_place(job: JobSpec, folder: RunFolder) -> dict[str, Any]:
    """Where the folders stand, each as the other finds it, and the job file, if one is run: all may be moved."""
    place: dict[str, Any] = {
        "output": str(folder.output.absolute()),
        "run_folder": _relative(folder.run, folder.output),
    }
    if job.file is not None:
        overrides = [text for text in job.overrides if not is_secret_key(text.partition("=")[0])]
        place |= {"job_file": str(job.file), "overrides": overrides}
    return place


def _save_info(info: dict[str, Any], folder: RunFolder, ledger: Ledger, disk: Disk) -> dict[str, Any]:
    disk.write_file(folder.info, orjson.dumps(info, option=orjson.OPT_INDENT_2))
    disk.sync_folder(folder.run)
    ledger.save_meta({"run": info})
    return info


def _relative(run: Path, output: Path) -> str:
    run, output = run.absolute(), output.absolute()
    return str(run.relative_to(output)) if run.is_relative_to(output) else str(run)


def _check_same(job: JobSpec, info: dict[str, Any], folder: RunFolder) -> None:
    if info["fingerprint"] != job.fingerprint:
        lines = find_differences(info["description"], job.describe())
        raise StateError(
            "this run folder belongs to another job; what differs:\n    " + "\n    ".join(lines),
            where=str(folder.run),
            hint="change it back; or keep the paid replies in a new run: another sink.path and "
            f"--reuse {folder.output}; or start anew with --fresh",
        )


def _check_parts(folder: RunFolder, segments: Sequence[dict[str, Any]]) -> None:
    """Refuse an output folder in which a sealed part is missing or of another size than it was sealed with."""
    for part in (segment["output"] for segment in segments if "output" in segment):
        path = folder.output / part["name"]
        size_bytes = path.stat().st_size if path.exists() else None
        if size_bytes != part["bytes"]:
            found = "is not in the output folder" if size_bytes is None else f"has {size_bytes} bytes"
            raise StateError(
                f"the sealed part {part['name']} {found}, and was sealed with {part['bytes']} bytes",
                where=str(folder.output),
                hint="put it back, or name the folder it is in as sink.path; or start anew with --fresh",
            )


def _plan_parts(source: Source, names: Sequence[str], ledger: Ledger, *, can_grow: bool) -> list[PartPosition]:
    """Where to go on in each part: the unfinished in their old order, then new ones, then those that grew.

    New and grown parts are given their turns durably before anything of them is read, so that the order stays.

    Args:
        can_grow: whether what is done may be gone on from when the source grew; a step that looks across records
            would have seen other ones.
    """
    known = {position.name: position for position in ledger.load_parts()}
    problems: list[str] = []
    changed: list[PartPosition] = []
    turn = 1 + max((position.turn for position in known.values()), default=-1)
    for name in names:
        position = known.get(name)
        if position is None:
            if known and not can_grow:
                problems.append(f"{name}: is new, and a step before the first call looks across records")
            changed.append(PartPosition(name, turn))
            turn += 1
            continue
        growth = "same" if position.state is None else source.compare_part(name, position.state)
        if growth == "edited":
            problems.append(f"{name}: edited before the point up to which its records are done")
        elif growth == "grown" and position.done:
            if not can_grow:
                problems.append(f"{name}: grew, and a step before the first call looks across records")
            changed.append(PartPosition(name, turn, position.ordinal, position.state, position.skip))
            turn += 1
    problems += [f"{name}: gone" for name in known if name not in names]
    if problems:
        raise StateError(
            "the source changed since this run began:\n    " + "\n    ".join(problems),
            hint="put it back; or run into another sink.path with --reuse, which keeps the paid replies of unchanged "
            "records; or start anew with --fresh. A source that only grows is continued, unless a `take` came first",
        )
    if changed:
        ledger.save_parts(changed)
        known |= {position.name: position for position in changed}
    waiting = [position for position in known.values() if not position.done]
    return sorted(waiting, key=lambda position: position.turn)


def open_old_run(target: str, folder: RunFolder, scope: Scope, disk: Disk) -> tuple[RunFolder, Ledger]:
    """The run whose replies are reused, locked until `scope` ends.

    Raises:
        StateError: there is none, it is running, or it is the very run that wants to reuse it.
    """
    old = locate_run(target)
    if old.ledger.resolve() == folder.ledger.resolve():
        raise StateError("a run cannot reuse itself", where=str(target), hint="write the new run to another sink.path")
    return old, scope.enter(open_ledger(old.ledger, disk))


def _delete_run(folder: RunFolder, ledger: Ledger, disk: Disk) -> None:
    """Delete what the run of this ledger has written, and nothing else; the emptied ledger, and its lock, stay.

    Where the ledger knows no run, what the manifest lists goes. Killed on the way, the next run goes on deleting.
    """
    info = ledger.load_meta("run")
    if info is None:
        _delete_listed(folder, disk)
    else:
        manifest = folder.load_manifest()
        if manifest is not None:  # it is this run's, wherever the run was when it was saved
            info = {**info, "output": str(folder.output.absolute())}
        ledger.save_meta({DELETING: True, "run": info})
        old = RunFolder(Path(info["output"]), folder.run)
        manifest = old.load_manifest()
        is_own = manifest is None or manifest["run_id"] == info["run_id"]
        segments = ledger.load_segments()
        if not is_own:
            segments = [{key: value for key, value in segment.items() if key != "output"} for segment in segments]
        remove_segments(old, disk, segments)
        for path in (*([old.manifest] if is_own else []), folder.info, folder.report, folder.status):
            disk.remove(path)
        for parent in (old.output, folder.run):
            if parent.is_dir():
                disk.sync_folder(parent)
    ledger.clear()


def _delete_listed(folder: RunFolder, disk: Disk) -> None:
    """Delete the output of a run whose run folder is gone."""
    manifest = folder.load_manifest()
    for name in [part["name"] for part in manifest["parts"]] if manifest is not None else []:
        if find_number(name) is not None:
            disk.remove(folder.output / name)
    disk.remove(folder.manifest)
    disk.sync_folder(folder.output)
