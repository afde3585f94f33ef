"""The one door to durable operations.

Everything that must survive a crash (files written and renamed, folders synced, ledger transactions committed)
passes through one `Disk`. A test hands in another one and ends the run at any operation it likes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

TEMP_SUFFIX = ".tmp"

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Why nothing can be written through no fault of a name."""


class Disk:
    """Durable operations on a local file system.

    Safe to use from several threads. Every method that changes something goes through `perform`, so a subclass
    that overrides `perform` sees each durable operation, its name and its path, before and after it happens.

    Raises (all methods): OSError, as the system gives it.
    """

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        """Do one durable operation: `write`, `rename`, `sync_folder`, `make_folder`, `remove` or `commit`."""
        return act()

    @contextlib.contextmanager
    def create_file(self, path: Path) -> Iterator[BinaryIO]:
        """A new file at `path`, there whole or not at all.

        The block writes to a temporary neighbour; on a clean exit it is synced and renamed into place, on an
        error it is removed. Call `sync_folder` once all files of a folder stand.
        """
        temporary = path.with_name(path.name + TEMP_SUFFIX)
        file = open(temporary, "wb")  # noqa: SIM115 - closed on each way out below
        try:
            with file:
                yield file
                self.perform("write", temporary, lambda: _flush(file))
            self.perform("rename", path, lambda: os.replace(temporary, path))
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def write_file(self, path: Path, data: bytes) -> None:
        """Put `data` at `path`, whole or not at all."""
        with self.create_file(path) as file:
            file.write(data)

    def write_at(self, path: Path, offset: int, data: bytes) -> None:
        """Put `data` at `offset` of the file at `path`, made when it is not there; what stands elsewhere stays."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(offset)
            file.write(data)
            self.perform("write", path, lambda: _flush(file))

    def sync_folder(self, folder: Path) -> None:
        """Make the names in `folder` durable."""
        self.perform("sync_folder", folder, lambda: _sync(folder))

    def sync_file(self, path: Path) -> None:
        """Make durable what another library wrote at `path`."""
        self.perform("write", path, lambda: _sync(path))

    def make_folder(self, folder: Path) -> None:
        """Create `folder` and its parents, durably; nothing when it is there."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            self.perform("make_folder", folder, lambda: folder.mkdir(exist_ok=True))
            self.sync_folder(folder.parent)

    def remove(self, path: Path) -> None:
        """Remove one file; nothing when it is gone."""
        self.perform("remove", path, lambda: path.unlink(missing_ok=True))

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder with all it holds; nothing when it is gone."""
        if folder.exists():
            self.perform("remove", folder, lambda: shutil.rmtree(folder))

    def commit(self, connection: sqlite3.Connection, path: Path) -> None:
        """Commit the open transaction of the database at `path`."""
        self.perform("commit", path, connection.commit)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
