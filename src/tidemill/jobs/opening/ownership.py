"""Whose folders these are: a run writes only to a run folder and an output folder that are its own, and whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.config.coercion.adapters import shape_of
from tidemill.config.inspection import describe_change, find_changes, list_entries
from tidemill.config.objects.descriptions import conceal_description, find_differences
from tidemill.errors import ConfigError, StateError
from tidemill.jobs.ledger.configuration import load_configuration
from tidemill.jobs.ledger.folder import RUN_FOLDER, RunFolder
from tidemill.jobs.ledger.segments import find_number, next_number
from tidemill.jobs.opening.untouched import gives_way
from tidemill.jobs.spec.job import JobSpec
from tidemill.jobs.spec.written import JobFile


def check_run_folder(folder: RunFolder) -> None:
    """Refuse a run folder that is the output folder, or that holds something else."""
    if os.path.realpath(folder.run) == os.path.realpath(folder.output):
        raise ConfigError(
            "the run folder is the output folder",
            where=str(folder.run),
            hint="leave run.dir out, or name another folder in it",
        )
    if folder.ledger.exists() or not folder.run.is_dir():
        return
    files = (folder.ledger, folder.info, folder.config, folder.report)
    own = (*(path.name for path in files), folder.status.stem, folder.control.stem, "quarantine", "calls")
    if foreign := sorted(path.name for path in folder.run.iterdir() if not path.name.startswith(own)):
        raise StateError(
            f"expected a new or empty folder, or a run's, as run folder; this one holds {foreign[0]!r}",
            where=str(folder.run),
            hint="name another folder under run.dir",
        )


def check_output(
    folder: RunFolder,
    info: Mapping[str, Any] | None,
    *,
    fresh: bool,
    segments: Sequence[Mapping[str, Any]] | None = (),
) -> None:
    """Refuse an output folder that another run writes to, or that holds parts this run has not written.

    Args:
        info: the run that the run folder holds, None when it is new.
        fresh: whether the output of a run whose run folder is gone may be deleted.
        segments: what the run has sealed; None when that is not known, and which parts are its own cannot be told.
    """
    manifest = folder.load_manifest()
    known: set[str] = set()
    number: int | None = None
    if segments is None and (manifest is None or (info is not None and manifest["run_id"] == info["run_id"])):
        return
    segments = segments or ()
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
    return {part["name"] for part in list_parts(segments)}


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


def check_same(job: JobSpec, info: Mapping[str, Any], folder: RunFolder) -> None:
    """Refuse a run folder that is of a job with another result, unless nothing is done; says what differs by field."""
    if info["fingerprint"] != job.fingerprint and not gives_way(info, job):
        lines = find_differences(info["description"], conceal_description(job.describe()))
        raise StateError(
            "this run folder belongs to another job; what differs:\n    "
            + "\n    ".join([*lines, *_find_written(job, folder)]),
            where=str(folder.run),
            hint="change it back; or keep the paid replies in a new run: another sink.path and "
            f"--reuse {folder.output}; or start anew with --fresh",
        )


def _find_written(job: JobSpec, folder: RunFolder) -> list[str]:
    """What was written otherwise, with its places, where the run and the job are both of a file."""
    if job.document is None or not folder.config.exists():
        return []
    changes = find_changes(load_configuration(folder), list_entries(job.document, shape_of(JobFile)))
    return ["in the job file:", *(f"  {describe_change(*each)}" for each in changes)] if changes else []


def list_parts(segments: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The sealed output parts of these segments, as the manifest lists them."""
    return [segment["output"] for segment in segments if "output" in segment]


def check_parts(folder: RunFolder, parts: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an output folder in which a sealed part is missing or of another size than it was sealed with."""
    for part in parts:
        path = folder.output / part["name"]
        size_bytes = path.stat().st_size if path.exists() else None
        if size_bytes != part["bytes"]:
            found = "is not in the output folder" if size_bytes is None else f"has {size_bytes} bytes"
            raise StateError(
                f"the sealed part {part['name']} {found}, and was sealed with {part['bytes']} bytes",
                where=str(folder.output),
                hint="put it back, or name the folder it is in as sink.path; or start anew with --fresh",
            )
