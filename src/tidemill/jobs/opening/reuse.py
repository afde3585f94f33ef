"""Reuse: the earlier run whose replies are given where nothing changed."""

from __future__ import annotations

import os
from pathlib import Path

from tidemill.disk import Disk
from tidemill.errors import StateError
from tidemill.jobs.ledger.database import Ledger, open_ledger
from tidemill.jobs.ledger.folder import RUN_FOLDER, RunFolder, locate_run
from tidemill.jobs.ledger.replies import OldReplies
from tidemill.jobs.ledger.run import OpenRun
from tidemill.resources.scope import Scope

NO_REUSE = "none"
"""In place of an earlier run: go on without the one that this run began with."""

REUSE_ENDED = "reuse_ended"
"""What the ledger holds once the source was read to its end: the earlier run is not needed any more."""


def open_reuse(run: OpenRun, asked: str | None, scope: Scope, disk: Disk) -> OldReplies | None:
    """The replies of the earlier run that `asked` names, or that this run began with; locked until `scope` ends.

    None once the source was read whole and the earlier run, which may then go, is gone.

    Raises:
        StateError: there is none where `asked` says, it is running, or this run is too far to begin with one.
    """
    known = run.ledger.load_meta("reuse")
    if asked == NO_REUSE:
        run.ledger.save_meta({"reuse": None})
        return None
    wanted = known if asked is None or _names(asked, known) else asked
    if wanted is None:
        return None
    if wanted == known and not Path(known).exists():
        if run.ledger.load_meta(REUSE_ENDED, False):
            return None
        raise StateError(
            f"the run whose replies this one reuses is gone: {known}",
            where=str(run.folder.output),
            hint="put it back; or name where it is now with --reuse; or go on without it and pay for the calls that "
            f"are left: --reuse {NO_REUSE}",
        )
    folder, ledger = _open_old_run(wanted, run.folder, scope, disk)
    location = str(folder.run.absolute())
    if known is None and run.segments:
        raise StateError(
            "--reuse is for a new run, and this one has sealed records",
            where=str(run.folder.output),
            hint="run without --reuse to go on, or write the new run to another sink.path",
        )
    if location != known:
        run.ledger.save_meta({"reuse": location})
    return OldReplies(folder, ledger.load_segments(), ledger.iter_frames())


def end_reuse(run: OpenRun) -> None:
    """Note that the source was read and sealed to its end: the earlier run may go."""
    if run.ledger.load_meta("reuse") and not run.ledger.load_meta(REUSE_ENDED, False):
        run.ledger.save_meta({REUSE_ENDED: True})


def _names(asked: str, known: str | None) -> bool:
    """Whether `asked` is the folder that this run began with, or the output folder around it; both may be gone."""
    return known is not None and Path(os.path.abspath(known)) in (
        Path(os.path.abspath(asked)),
        Path(os.path.abspath(asked), RUN_FOLDER),
    )


def _open_old_run(target: str, folder: RunFolder, scope: Scope, disk: Disk) -> tuple[RunFolder, Ledger]:
    old = locate_run(target)
    if old.ledger.resolve() == folder.ledger.resolve():
        raise StateError("a run cannot reuse itself", where=str(target), hint="write the new run to another sink.path")
    return old, scope.enter(open_ledger(old.ledger, disk))
