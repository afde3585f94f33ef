"""Opening a run: whose folders these are, what is sealed already, and where to go on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill.config.coercion.adapters import shape_of
from tidemill.config.inspection import list_entries
from tidemill.config.objects.descriptions import conceal_description
from tidemill.data.sources.versions import hash_parts
from tidemill.disk import DISK_FAULTS, Disk
from tidemill.errors import ConfigError
from tidemill.jobs.ledger.configuration import save_configuration
from tidemill.jobs.ledger.database import Ledger, explaining_disk, open_ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.run import OpenRun
from tidemill.jobs.ledger.segments import build_manifest, remove_unsealed
from tidemill.jobs.opening.deletion import DELETING, delete_run
from tidemill.jobs.opening.origin import describe_origin
from tidemill.jobs.opening.overrides import split_overrides
from tidemill.jobs.opening.ownership import check_output, check_parts, check_run_folder, check_same, list_parts
from tidemill.jobs.opening.plan import plan_parts, plan_whole
from tidemill.jobs.opening.untouched import UNTOUCHED, gives_way, save_info
from tidemill.jobs.reading.prefix import find_prefix
from tidemill.jobs.reading.source_half import SourceHalf
from tidemill.jobs.records.chunk import SourceTotals
from tidemill.jobs.records.counts import new_counts
from tidemill.jobs.spec.job import JobSpec
from tidemill.jobs.spec.written import JobFile
from tidemill.resources.scope import Scope


def open_run(job: JobSpec, scope: Scope, disk: Disk, *, fresh: bool = False, retry: bool = False) -> OpenRun:
    """The run of `job`, its ledger locked until `scope` ends; a new one when there is none, or with `fresh`.

    Args:
        retry: the source is not read, so that what became of it does not matter; nothing is planned.

    Raises:
        StateError: it runs already, belongs to another job, or its source was edited; says what differs.
        DataError: the source matches nothing.
        ConfigError: the run folder is the output folder, or a folder cannot be made.
        ResourceError: the disk is full or fails; what was committed is kept, and opening again goes on.
    """
    names = None if retry else tuple(job.source.parts())
    origin = describe_origin(job, names)
    with explaining_disk():
        run = _open_folders(job, scope, disk, origin, fresh=fresh)
    if names is None:
        return run
    prefix = find_prefix(job.source, job.halves[0])
    half = SourceHalf(job.halves[0], [], run.totals.taken, prefix=None if prefix is None else len(prefix.nodes))
    if prefix is None:
        run.parts = plan_parts(job.source, names, run.ledger, can_grow=not half.is_whole or half.is_full())
    else:
        run.parts = plan_whole(prefix, names, run.ledger, is_full=half.is_full())
    return run


def _open_folders(job: JobSpec, scope: Scope, disk: Disk, origin: Mapping[str, Any], *, fresh: bool) -> OpenRun:
    """The run without the plan of its parts: its folders checked, and as its ledger says."""
    folder = job.folders
    check_run_folder(folder)
    if not folder.ledger.exists():
        check_output(folder, None, fresh=fresh)
    for path in (folder.output, folder.run):
        _make_folder(path, disk)
    ledger = scope.enter(open_ledger(folder.ledger, disk))
    if folder.control.exists():  # meant for a sitting that has ended
        disk.remove(folder.control)
    check_output(folder, ledger.load_meta("run"), fresh=fresh, segments=ledger.load_segments())
    if fresh or ledger.load_meta(DELETING, False) or gives_way(ledger.load_meta("run"), job):
        delete_run(folder, ledger, disk)
    info = ledger.load_meta("run")
    is_new = info is None
    if info is None:
        info = _start_run(job, folder, ledger, disk)
    check_same(job, info, folder)
    segments = ledger.load_segments()
    check_parts(folder, list_parts(segments))
    known = {key: value for key, value in info.items() if key != UNTOUCHED}
    placed = {**known, **_describe_place(job, folder), **origin, **_note_version(info, segments)}
    if placed != info:
        info = save_info(placed, folder, ledger, disk)
    if job.document is not None:
        save_configuration(folder, disk, job.fingerprint, list_entries(job.document, shape_of(JobFile)))
    remove_unsealed(folder, disk, segments)
    manifest = build_manifest(info, segments)
    folder.keep_version(disk, manifest)
    folder.save_manifest(disk, manifest)
    totals = ledger.load_meta("source", {"ordinal": 0, "taken": {}})
    return OpenRun(
        folder,
        ledger,
        info,
        segments,
        [],
        ledger.load_meta("counts") or new_counts(len(job.names)),
        {int(key): number for key, number in ledger.load_meta("sealed", {}).items()},
        SourceTotals(totals["ordinal"], totals["taken"]),
        is_new,
    )


def _make_folder(path: Path, disk: Disk) -> None:
    try:
        disk.make_folder(path)
    except OSError as exc:
        if exc.errno in DISK_FAULTS:
            raise
        raise ConfigError(
            f"the folder cannot be made: {exc.strerror or exc}",
            where=str(path),
            hint="name another one as sink.path or run.dir, or mend what is in the way",
        ) from exc


def _start_run(job: JobSpec, folder: RunFolder, ledger: Ledger, disk: Disk) -> dict[str, Any]:
    info = {
        "run_id": uuid.uuid4().hex,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fingerprint": job.fingerprint,
        "description": conceal_description(job.describe()),
        "format": job.sink.format,
        "job_file": None,
        "overrides": [],
        "left_out": [],
        **_describe_place(job, folder),
    }
    return save_info(info, folder, ledger, disk)


def _describe_place(job: JobSpec, folder: RunFolder) -> dict[str, Any]:
    """Where the folders stand, each as the other finds it, and the job file, if one is run: all may be moved."""
    place: dict[str, Any] = {
        "output": str(folder.output.absolute()),
        "run_folder": _relative(folder.run, folder.output),
    }
    if job.file is not None:
        overrides, left_out = split_overrides(job.overrides)
        place |= {"job_file": str(job.file), "overrides": overrides, "left_out": left_out}
    return place


def _note_version(info: dict[str, Any], segments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content that the run goes on from, behind the one that it went on from before."""
    versions, parts = info.get("versions", []), list_parts(segments)
    content = hash_parts(parts)
    return {} if not parts or content in versions[-1:] else {"versions": [*versions[-1:], content]}


def _relative(run: Path, output: Path) -> str:
    run, output = run.absolute(), output.absolute()
    return str(run.relative_to(output)) if run.is_relative_to(output) else str(run)
