"""`Syncing`: what Lance wrote into a table's folder brought to the disk, which Lance leaves to the system."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tidemill.disk import Disk

_VERSIONS = "_versions"
_BENEATH = ("data", "_deletions", "_indices", "_transactions")
"""What a version stands on, so that it is there before the version is."""


def drop_empty_versions(folder: Path, disk: Disk) -> None:
    """Remove versions of which only the name came to the disk, before the power was lost: Lance would read no other.

    Nobody was told that they are stored. A version has its name last, so one of a writer that lives is never empty.

    Raises:
        OSError: as the system gives it.
    """
    for path in (folder / _VERSIONS).glob("*"):
        with suppress(FileNotFoundError):
            if path.stat().st_size == 0:
                disk.remove(path)


class Syncing:
    """Syncs the files that came since it last did, whoever wrote them: a version stands on all those before it.

    Versions are looked for first and synced last: one that another writer adds meanwhile waits for the next time, since
    its files may have come behind those that were looked for. A file that has grown is synced again.

    Blocks: it is for a thread, one at a time.

    Args:
        folder: the table's; what is there already counts as synced.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._known = {name: self._list(name) for name in (*_BENEATH, _VERSIONS)}

    def sync(self) -> None:
        """Bring all that is new to the disk.

        Raises:
            OSError: as the system gives it: what was written may be lost with the power. The next time tries again.
        """
        versions = self._list(_VERSIONS)
        for name in _BENEATH:
            self._sync_new(name, self._list(name))
        self._sync_new(_VERSIONS, versions)

    def _sync_new(self, name: str, found: set[tuple[str, int]]) -> None:
        files = [self._folder / name / file for file, _ in sorted(found - self._known[name])]
        folders = {self._folder / name, *(file.parent for file in files)} if files else set()
        for path in files:
            with suppress(FileNotFoundError):  # replaced and removed meanwhile, by whoever merged it
                self._disk.sync_file(path)
        for folder in sorted(folders, reverse=True):  # one within another before it
            with suppress(FileNotFoundError):
                self._disk.sync_folder(folder)
        self._known[name] = found

    def _list(self, name: str) -> set[tuple[str, int]]:
        """The files in a folder of the table with their bytes; of an index, each in a folder of its own."""
        found: set[tuple[str, int]] = set()
        with suppress(FileNotFoundError), os.scandir(self._folder / name) as entries:
            for entry in entries:
                if entry.is_dir():
                    found.update((f"{entry.name}/{file}", size) for file, size in self._list(f"{name}/{entry.name}"))
                else:
                    with suppress(FileNotFoundError):
                        found.add((entry.name, entry.stat().st_size))
        return found
