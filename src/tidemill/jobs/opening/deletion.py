"""Deleting a run before it begins anew."""

from __future__ import annotations

from pathlib import Path

from tidemill.data.kept.folder import list_kept
from tidemill.disk import TEMP_SUFFIX, Disk
from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.segments import find_number, remove_segments

DELETING = "deleting"
"""What the ledger holds from the moment a `--fresh` deletes its run until nothing is left of it."""


def delete_run(folder: RunFolder, ledger: Ledger, disk: Disk) -> None:
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
        if is_own:
            _delete_versions(old, disk)
        for path in (*([old.manifest] if is_own else []), folder.info, folder.config, folder.report, folder.status):
            disk.remove(path)
        for path in list_kept(folder.kept):
            disk.remove_folder(path)
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
    _delete_versions(folder, disk)
    disk.remove(folder.manifest)
    disk.sync_folder(folder.output)


def _delete_versions(folder: RunFolder, disk: Disk) -> None:
    """Delete the manifests of earlier versions, whose parts are gone."""
    parent = folder.version("").parent
    if not parent.is_dir():
        return
    for path in (*sorted(parent.glob("*.json")), *sorted(parent.glob(f"*.json{TEMP_SUFFIX}"))):
        disk.remove(path)
    disk.sync_folder(parent)
    if not any(parent.iterdir()):
        disk.remove_folder(parent)
