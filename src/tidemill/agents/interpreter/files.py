"""`Folder`: what code writes into its working folder, looked at without following a link out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

MAX_FILES = 50
"""Files that one call tells of; of more their number alone."""

INLINE = 2 << 10
"""Bytes of a text file that is told whole."""


INLINE_ALL = 8 << 10
"""Bytes of such files, together, of one call."""

IN_RUN = 4 << 20
"""Bytes of one call's files, together, that the run keeps where no folder does."""


class WrittenFile(TypedDict):
    """A file that a call wrote or changed.

    Attributes:
        name: relative to the folder.
        size_bytes: its size.
        text: all of it, where it is short and is text.
        kept: where a copy of it stands after the run.
        data: all of it in base64, where no folder keeps it and the run has room; the model is not told.
    """

    name: str
    size_bytes: int
    text: NotRequired[str]
    kept: NotRequired[str]
    data: NotRequired[str]


_Mark = tuple[int, int, int, int]


class Folder:
    """Tells what changed in a folder since it was last asked; code may run in it meanwhile.

    Regular files count, whose paths have no part that is `__pycache__` or begins with a dot: caches are no results.
    Links are not followed, in no part of a path.
    """

    def __init__(self, path: Path, keep: Path | None) -> None:
        self._path = path
        self._keep = keep
        self._marks: Mapping[str, _Mark] = {}

    def take_written(self, key: str) -> tuple[list[WrittenFile], int]:
        """What was written since the last time, the first 50 by name, and how many there are.

        Args:
            key: of the call: copies stand in a folder of that name, in place of those of the same call made before.

        Raises:
            OSError: a copy could not be written.
        """
        marks: dict[str, _Mark] = {}
        changed: dict[str, WrittenFile] = {}
        target = None if self._keep is None else self._keep / key
        partial = None if self._keep is None else self._keep / f".{key}.partial"
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        room, inline = IN_RUN, INLINE_ALL
        with contextlib.suppress(FileNotFoundError):  # the code may have removed the folder itself
            for name, descriptor in self._iter_files():
                try:
                    marks[name] = mark = _mark(os.fstat(descriptor))
                    if self._marks.get(name) == mark:
                        continue
                    changed[name] = _read(name, mark[1], descriptor, min(INLINE, inline))
                    inline -= len(changed[name].get("text", "").encode())
                    if partial is not None and target is not None:
                        _copy(descriptor, partial / name)
                        changed[name]["kept"] = str(target / name)
                    elif "text" not in changed[name] and len(changed) <= MAX_FILES and mark[1] <= room:
                        changed[name]["data"] = b64encode(os.pread(descriptor, mark[1], 0)).decode()
                        room -= mark[1]
                finally:
                    os.close(descriptor)
        self._marks = marks
        if changed and partial is not None and target is not None:
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
        return [changed[name] for name in sorted(changed)[:MAX_FILES]], len(changed)

    def _iter_files(self) -> Iterator[tuple[str, int]]:
        """Each file's name and a descriptor of it, which is the caller's to close."""
        for folder, folders, names, at in os.fwalk(self._path):
            folders[:] = sorted(name for name in folders if not _is_cache(name))
            for name in names:
                if not _is_cache(name) and (descriptor := _open(name, at)) is not None:
                    yield _clean(os.path.relpath(os.path.join(folder, name), self._path)), descriptor


def remove_folder(path: Path) -> list[str]:
    """Remove the folder with all in it; what could not be, in words."""
    failures: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        path.chmod(0o700)  # code may take from itself the right to write
        for _, folders, _, at in os.fwalk(path):
            for name in folders:
                if not stat.S_ISLNK(os.lstat(name, dir_fd=at).st_mode):
                    os.chmod(name, 0o700, dir_fd=at)
        shutil.rmtree(path, onerror=lambda function, name, info: failures.append(f"{name}: {info[1]}"))
    return failures


def _is_cache(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _open(name: str, at: int) -> int | None:
    """A descriptor of a regular file; None of anything else."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    except OSError:  # a link, a socket, or gone again
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _mark(status: os.stat_result) -> _Mark:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _clean(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _read(name: str, size: int, descriptor: int, most: int) -> WrittenFile:
    """What is told of a file, with its text where it has no more than `most` bytes."""
    told = WrittenFile(name=name, size_bytes=size)
    data = os.pread(descriptor, size + 1, 0) if size <= most else b""
    if data and len(data) <= most and b"\0" not in data:
        try:
            told["text"] = data.decode()
        except UnicodeDecodeError:
            return told
    return told


def _copy(descriptor: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(descriptor, "rb", closefd=False) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
