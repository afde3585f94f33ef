"""What opening a run would refuse, told beforehand: from what lies in its folders, without its lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill.config.report.rendering import raise_problems
from tidemill.errors import ConfigError, Problem, StateError
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.opening.ownership import check_output, check_parts, check_run_folder, check_same
from tidemill.jobs.spec.checks import draft_job, find_problems
from tidemill.jobs.spec.draft import Draft
from tidemill.jobs.spec.job import JobSpec


def check_opening(job: JobSpec) -> None:
    """Check that `job` can run, and go on in the folders it names as they are; nothing is written or locked.

    A source that was edited is known to the ledger only, and is told by the run.

    Raises:
        ConfigError: it cannot; `problems` holds everything found.
    """
    draft = draft_job(job)
    raise_problems([*find_problems(draft), *_find_refusal(job, draft)])


def _find_refusal(job: JobSpec, draft: Draft) -> Sequence[Problem]:
    """The problem that opening the run would end with, if there is one."""
    try:
        _check_folders(job, job.folders)
    except (ConfigError, StateError) as exc:
        path = ("run", "dir") if draft.run.dir and exc.where == str(job.folders.run) else ("sink", "path")
        return [draft.problem(path, f"{exc.where}: {exc.message}", exc.hint)]
    except OSError:  # a folder that cannot be looked into is told as one that cannot be written to
        pass
    return []


def _check_folders(job: JobSpec, folder: RunFolder) -> None:
    check_run_folder(folder)
    info = folder.load_info()
    if info is not None:
        check_output(folder, info, fresh=False, segments=None)
        check_same(job, info, folder)
        check_parts(folder, _load_parts(folder, info))
    elif not folder.ledger.exists():  # else it was killed before it began, or while it was being deleted
        check_output(folder, None, fresh=False)


def _load_parts(folder: RunFolder, info: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What the run has sealed by its manifest, which may stand in an output folder it was given before."""
    for output in (folder.output, Path(info["output"])):
        manifest = RunFolder(output, folder.run).load_manifest()
        if manifest is not None and manifest["run_id"] == info["run_id"]:
            parts: Sequence[Mapping[str, Any]] = manifest["parts"]
            return parts
    return ()
