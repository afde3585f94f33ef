"""Files below one folder, reached without ever leaving it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tidemill.agents.tools.refusal import RefusalError
from tidemill.config.wording.suggest import find_near
from tidemill.errors import ConfigError, ResourceError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without `O_NONBLOCK` the opening of a pipe waits for somebody who writes."""


class Root:
    """A folder and what is below it; symbolic links are not followed, wherever they lead. Safe to share.

    Each path is walked from the folder's own descriptor, one name at a time, with `openat` and `O_NOFOLLOW`: what
    another process puts in the place of a name meanwhile cannot lead out. Hard links and mounts within the folder are
    taken as what they are: whoever can make them can read what they lead to.

    Raises:
        ConfigError: it is no folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).resolve()
        if not self.folder.is_dir():
            raise ConfigError(f"`{folder}` is no folder", hint="name one that is there")

    @contextmanager
    def open_file(self, path: str) -> Iterator[int]:
        """The descriptor of a regular file, closed when the block ends.

        Raises:
            RefusalError: there is no such file, it is none to be read, or the path leads out.
            ResourceError: the folder itself is gone.
        """
        names = split_path(path)
        if not names:
            raise RefusalError(f"`{path}` is a folder, not a file")
        with self._open_folder(names[:-1]) as folder, self._explain(names, len(names) - 1, folder):
            number = os.open(names[-1], _FILE, dir_fd=folder)
        try:
            mode = os.fstat(number).st_mode
            if stat.S_ISDIR(mode):
                raise RefusalError(f"`{path}` is a folder, not a file", hint="list it with list_files")
            if not stat.S_ISREG(mode):
                raise RefusalError(f"`{path}` is no regular file")
            yield number
        finally:
            os.close(number)

    @contextmanager
    def open_folder(self, path: str) -> Iterator[int]:
        """The descriptor of a folder, closed when the block ends.

        Raises:
            RefusalError: there is no such folder, or the path leads out.
        """
        with self._open_folder(split_path(path)) as number:
            yield number

    @contextmanager
    def _open_folder(self, names: list[str]) -> Iterator[int]:
        try:
            number = os.open(self.folder, _FOLDER)
        except OSError as exc:
            raise ResourceError(f"the folder cannot be opened: {exc.strerror}", where=str(self.folder)) from None
        try:
            for at, name in enumerate(names):
                with self._explain(names, at, number):
                    below = os.open(name, _FOLDER, dir_fd=number)
                os.close(number)
                number = below
            yield number
        finally:
            os.close(number)

    @contextmanager
    def _explain(self, names: list[str], at: int, folder: int) -> Iterator[None]:
        """What the system says of the name at `at`, in words for the model."""
        path = "/".join(names[: at + 1])
        try:
            yield
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                near = find_near(names[at], _list_names(folder))
                hint = f"did you mean `{'/'.join([*names[:at], near])}`?" if near else "see list_files"
                raise RefusalError(f"there is no `{path}`", hint=hint) from None
            if exc.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(names[at], folder):
                raise RefusalError(f"`{path}` is a symbolic link, which is not followed") from None
            if exc.errno == errno.ENOTDIR:
                raise RefusalError(f"`{path}` is a file, not a folder") from None
            raise RefusalError(f"`{path}` cannot be opened: {(exc.strerror or '').lower()}") from None


def split_path(path: str) -> list[str]:
    """The names in a path below a folder; none for the folder itself.

    Raises:
        RefusalError: it may lead out, or is no path.
    """
    if "\0" in path:
        raise RefusalError("the path has a NUL character in it")
    if path.startswith(("/", "~")) or (path[1:3] in (":\\", ":/")):
        raise RefusalError(f"`{path[:200]}` is not below the folder", hint="write it relative: `notes/a.txt`")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise RefusalError(f"`{path[:200]}` has `..` in it", hint="write it relative to the folder, without `..`")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise RefusalError("the path has half of a surrogate pair in it, which is no character") from None
    return names


def _list_names(folder: int) -> list[str]:
    with suppress(OSError):  # one that may be entered and not listed
        return sorted(os.listdir(folder))
    return []


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode)
    except OSError:  # gone meanwhile
        return False
