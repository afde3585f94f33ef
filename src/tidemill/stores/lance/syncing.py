"""`Syncing`: what Lance wrote into a table's folder brought to the disk, which Lance leaves to the system."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tidemill.disk import Disk

_ORDER = ("data", "_deletions", "_indices", "_transactions", "_versions")
"""A version stands on the files before it, so it is synced last."""


def drop_empty_versions(folder: Path, disk: Disk) -> None:
    """Remove versions of which only the name came to the disk, before the power was lost: Lance would read no other.

    Nobody was told that they are stored. A version has its name last, so one of a writer that lives is never empty.

    Raises:
        OSError: as the system gives it.
    """
    for path in (folder / "_versions").glob("*"):
        with suppress(FileNotFoundError):
            if path.stat().st_size == 0:
                disk.remove(path)


class Syncing:
    """Syncs the files that came since it last did, whoever wrote them: a version stands on all those before it.

    Blocks: it is for a thread, one at a time.

    Args:
        folder: the table's; what is there already counts as synced.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._known: dict[str, set[str]] = {name: self._list(name) for name in _ORDER}

    def sync(self) -> None:
        """Bring all that is new to the disk.

        Raises:
            OSError: as the system gives it: what was written may be lost with the power.
        """
        for name in _ORDER:
            found = self._list(name)
            new, self._known[name] = found - self._known[name], found
            for file in sorted(new):
                with suppress(FileNotFoundError):  # replaced and removed meanwhile, by whoever merged it
                    self._disk.sync_file(self._folder / name / file)
            if new:
                self._disk.sync_folder(self._folder / name)

    def _list(self, name: str) -> set[str]:
        """The files in a folder of the table; of an index, each in a folder of its own."""
        try:
            with os.scandir(self._folder / name) as entries:
                found = {entry.name: entry.is_dir() for entry in entries}
        except FileNotFoundError:
            return set()
        inner = (f"{each}/{file}" for each, is_dir in found.items() if is_dir for file in self._list(f"{name}/{each}"))
        return {each for each, is_dir in found.items() if not is_dir} | set(inner)
