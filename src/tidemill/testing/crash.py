"""Disks that crash, stop or fill up, to prove what a run leaves behind at every durable operation."""

from __future__ import annotations

import bisect
import contextlib
import errno
import hashlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from tidemill.disk import TEMP_SUFFIX, Disk

T = TypeVar("T")

Moment = Literal["before", "half", "after"]


class Crash(BaseException):
    """The process ended here, as far as the code under test is concerned; no `except Exception` sees it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a crash at one moment of one durable operation would have left.

    Attributes:
        number: of the operation, from 1.
        folder: a copy of the watched folder, this snapshot's own.
        seen: what `observe` returned at that moment.
        same_as: the folder of the first snapshot that holds the same files with the same bytes, None for that first.
    """

    number: int
    operation: str
    path: Path
    moment: Moment
    folder: Path
    seen: Any
    same_as: Path | None

    def __str__(self) -> str:
        return f"{self.moment} {self.operation} {self.path.name} (operation {self.number})"


class CrashDisk(Disk):
    """A disk that copies the watched folder as a power cut would leave it: before, half through and after operations.

    What the copies hold: a file whose content was never synced is cut in half; a `commit` half through has the older
    half of the bytes it added to SQLite's write-ahead log; a folder half removed has every second file. A rename
    lasts from the `sync_folder` of its folder on. Until then the copies lack it, with what stood under the new name in
    its place, save around renames and syncs, where also the newest, every second, and all of them stand.

    Operations are done one at a time, also from several threads, and none returns before its copies are made: what
    `observe` sees belongs to the copy. Copying the file of an open database drops the lock this process holds on it
    (POSIX), so a test of that lock needs another disk.

    Args:
        watched: the folder whose tree is copied.
        into: where the copies go, outside `watched`; each is a folder `NUMBER-OPERATION-MOMENT`.
        observe: called with each copy; its result is the snapshot's `seen` (the calls billed so far, say).
    """

    def __init__(self, watched: Path, into: Path, *, observe: Callable[[], Any] | None = None) -> None:
        if into.resolve().is_relative_to(watched.resolve()):
            raise ValueError(f"the copies cannot go into the watched folder: {into}")
        self.snapshots: list[Snapshot] = []
        self._watched = watched.resolve()
        self._into = into
        self._observe = observe or (lambda: None)
        self._lock = threading.Lock()  # guards everything below, and makes operations take turns
        self._number = 0
        self._synced: set[Path] = set()
        self._pending: dict[Path, _Rename] = {}
        self._first: dict[bytes, Path] = {}

    @property
    def distinct_snapshots(self) -> Sequence[Snapshot]:
        """The snapshots without those that equal an earlier one byte by byte."""
        return [snapshot for snapshot in self.snapshots if snapshot.same_as is None]

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        """Do one durable operation, with a snapshot of each of its three moments."""
        with self._lock:
            self._number += 1
            place = path.resolve()
            before = self._copy_tree(operation, "before")
            self._add(operation, path, "before", before)
            topmost = _topmost_missing(place)
            replaced = self._replaced(place) if operation == "rename" else None
            result = act()
            if operation == "rename":
                self._pending.pop(place, None)  # the newest stands last
                self._pending[place] = _Rename(place.with_name(place.name + TEMP_SUFFIX), replaced)
            self._add(operation, path, "half", self._copy_half(operation, place, before, topmost))
            self._settle(operation, place)
            self._add(operation, path, "after", self._copy_tree(operation, "after"))
            return result

    def _add(self, operation: str, path: Path, moment: Moment, folder: Path) -> None:
        digest = _hash_tree(folder)
        first = self._first.setdefault(digest, folder)
        same_as = None if first == folder else first
        self.snapshots.append(Snapshot(self._number, operation, path, moment, folder, self._observe(), same_as))

    def _replaced(self, target: Path) -> bytes | None:
        """What stands durably under a name that is about to be renamed to."""
        if target in self._pending:
            return self._pending[target].replaced
        return target.read_bytes() if target.exists() else None

    def _settle(self, operation: str, place: Path) -> None:
        """Note what the operation made durable."""
        if operation == "write":
            self._synced.add(place)
        elif operation == "rename":
            self._synced.discard(self._pending[place].source)
        elif operation == "sync_folder":
            self._pending = {target: rename for target, rename in self._pending.items() if target.parent != place}
        elif operation == "remove":
            self._pending = {
                target: rename for target, rename in self._pending.items() if not target.is_relative_to(place)
            }

    def _lost(self, operation: str, moment: Moment) -> list[Path]:
        """The names that a crash at this moment undoes."""
        pending = list(self._pending)
        match operation, moment:
            case "rename", "half":
                return pending[:-1]
            case ("rename", "after") | ("sync_folder", "before"):
                return []
            case "sync_folder", "half":
                return pending[::2]
        return pending

    def _copy_tree(self, operation: str, moment: Moment) -> Path:
        """A copy of the watched tree as a crash now would leave it."""
        folder = self._into / f"{self._number:04}-{operation}-{moment}"
        folder.mkdir(parents=True)
        for source in _files_in_copy_order(self._watched):
            target = folder / source.relative_to(self._watched)
            with contextlib.suppress(FileNotFoundError):  # a temporary file that another thread gave up meanwhile
                if source.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
                if source.name.endswith(TEMP_SUFFIX) and source not in self._synced:
                    _halve(target)
        for name in self._lost(operation, moment):
            self._undo(folder, name)
        return folder

    def _undo(self, folder: Path, name: Path) -> None:
        """In a copy, put a rename back: its file under the temporary name, what it replaced under its own."""
        if not name.is_relative_to(self._watched):
            return
        target = folder / name.relative_to(self._watched)
        rename = self._pending[name]
        if target.exists():
            os.replace(target, target.with_name(rename.source.name))
        if rename.replaced is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(rename.replaced)

    def _copy_half(self, operation: str, place: Path, before: Path, topmost: Path) -> Path:
        """The tree with the operation half done; called when it is done, and not yet noted as durable."""
        if operation not in {"commit", "remove", "make_folder"}:
            return self._copy_tree(operation, "half")
        folder = self._into / f"{self._number:04}-{operation}-half"
        shutil.copytree(before, folder)
        if not place.is_relative_to(self._watched):
            return folder
        copied = folder / place.relative_to(self._watched)
        if operation == "commit":
            log = place.with_name(place.name + "-wal")
            if log.exists():
                copied_log = copied.with_name(log.name)
                old = copied_log.read_bytes() if copied_log.exists() else b""
                copied_log.write_bytes(_tear(old, log.read_bytes()))
        elif operation == "remove":
            _remove_half(copied)
        elif topmost != place:
            (folder / topmost.relative_to(self._watched)).mkdir()
        return folder


@dataclass(frozen=True, slots=True)
class _Rename:
    """A rename whose folder is not synced yet: where the file came from, and the bytes it replaced."""

    source: Path
    replaced: bytes | None


class StoppingDisk(Disk):
    """A disk on which one operation raises `Crash`, and each one after it.

    The files stay as the code leaves them while the exception passes: a process that ends in good order, at the worst
    place. A `commit` and a `rename` cannot be half done, and are left out then.

    Args:
        at: the number of the operation, from 1.
        moment: before it is done, half through, or after.
    """

    def __init__(self, at: int, moment: Moment = "before") -> None:
        self.at = at
        self.moment: Moment = moment
        self.operations: list[tuple[str, Path]] = []
        self._lock = threading.Lock()  # guards the count, so that exactly one operation is the one

    @property
    def is_stopped(self) -> bool:
        """Whether the operation was reached."""
        return len(self.operations) >= self.at

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        """Do one durable operation, unless it is the one or comes after it."""
        with self._lock:
            if self.is_stopped:
                raise Crash(f"{operation} {path}: the disk stopped at operation {self.at}")
            self.operations.append((operation, path))
            if len(self.operations) < self.at:
                return act()
            if self.moment == "after" or (self.moment == "half" and operation == "write"):
                act()
            if self.moment == "half" and operation == "write":
                _halve(path)
            elif self.moment == "half" and operation == "remove":
                _remove_half(path)
            raise Crash(f"{self.moment} {operation} {path}: operation {self.at}")


class FullDisk(Disk):
    """A disk that is full after `room` operations that take room (`write`, `commit`, `make_folder`).

    Removing and renaming go on. `make_room()` ends it.
    """

    def __init__(self, room: int) -> None:
        self._room: float = room
        self._lock = threading.Lock()  # guards the room left

    def make_room(self) -> None:
        """Have room for everything from now on."""
        with self._lock:
            self._room = float("inf")

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        """Do one durable operation, if there is room for it.

        Raises:
            OSError: there is none (`ENOSPC`); of a `commit`, `sqlite3.OperationalError` as SQLite words it.
        """
        if operation in {"write", "commit", "make_folder"}:
            with self._lock:
                if self._room < 1:
                    if operation == "commit":
                        raise sqlite3.OperationalError("database or disk is full")
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                self._room -= 1
        return act()


def _files_in_copy_order(folder: Path) -> list[Path]:
    """Everything under `folder`, each write-ahead log before its database.

    A log copied first still holds what a checkpoint moves on meanwhile.
    """
    return sorted(folder.rglob("*"), key=lambda path: (not path.name.endswith("-wal"), path))


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _remove_half(path: Path) -> None:
    """Remove every second file of a folder; a single file stays."""
    if path.is_dir():
        for file in [file for file in sorted(path.rglob("*")) if not file.is_dir()][::2]:
            file.unlink()


def _tear(old: bytes, new: bytes) -> bytes:
    """`new` as written half over `old`: cut in the middle of the bytes in which it differs."""
    start = _common_prefix(old, new)
    stop = len(new)
    if len(old) == len(new):
        stop -= min(_common_prefix(old[::-1], new[::-1]), stop - start)
    middle = (start + stop) // 2
    return new[:middle] + old[middle:]


def _common_prefix(one: bytes, other: bytes) -> int:
    lengths = range(min(len(one), len(other)) + 1)
    return bisect.bisect_left(lengths, True, key=lambda length: one[:length] != other[:length]) - 1


def _topmost_missing(path: Path) -> Path:
    """The topmost of `path` and its parents that is not there; `path` when they all are."""
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    return missing


def _hash_tree(folder: Path) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}|{path.is_dir()}|".encode())
        if not path.is_dir():
            content = path.read_bytes()
            digest.update(len(content).to_bytes(8, "big") + content)
    return digest.digest()
