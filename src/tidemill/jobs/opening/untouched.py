"""A run in which nothing is done: its folder takes a job that was mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tidemill.disk import Disk
from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.run import OpenRun
from tidemill.jobs.spec.job import JobSpec

UNTOUCHED = "untouched"
"""What a run's description holds between two sittings while nothing is done: not after a kill, which may hide calls."""


def gives_way(info: Mapping[str, Any] | None, job: JobSpec) -> bool:
    """Whether the run of this description is another job's, and holds nothing that would be lost."""
    return info is not None and info.get(UNTOUCHED, False) and info["fingerprint"] != job.fingerprint


def holds_nothing(ledger: Ledger) -> bool:
    """Whether no record has an outcome, no reply is kept, and there are no earlier ones to reuse."""
    is_empty = not ledger.load_segments() and next(ledger.iter_frames(), None) is None
    return is_empty and ledger.load_meta("reuse") is None


def note_untouched(run: OpenRun, disk: Disk) -> None:
    """Note durably that nothing is done."""
    run.info = save_info({**run.info, UNTOUCHED: True}, run.folder, run.ledger, disk)


def save_info(info: dict[str, Any], folder: RunFolder, ledger: Ledger, disk: Disk) -> dict[str, Any]:
    """Write a run's description down, for those without its lock and for the ledger."""
    disk.write_file(folder.info, orjson.dumps(info, option=orjson.OPT_INDENT_2))
    disk.sync_folder(folder.run)
    ledger.save_meta({"run": info})
    return info
