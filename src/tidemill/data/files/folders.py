"""What files there are: folders gone through in the order of full names, a folder or a page at a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, cast

from tidemill.data.files.path import AnyPath, RemotePath, find_local
from tidemill.errors import ResourceError

Entry = tuple[str, bool]
"""A name in a folder, and whether a folder is so named."""


def find_kind(path: AnyPath) -> Literal["file", "folder"] | None:
    """What stands at `path`; None for nothing.

    Raises:
        ResourceError: a remote file system cannot be asked.
    """
    local = find_local(path)
    if local is None:
        from tidemill.data.files.remote import find_remote_kind

        return find_remote_kind(cast(RemotePath, path))
    if local.is_dir():
        return "folder"
    return "file" if local.is_file() or (local.is_symlink() and not local.exists()) else None


def describe_absence(path: AnyPath) -> str:
    """That nothing stands at `path`, where `find_kind` finds nothing; a server is asked for its word."""
    if isinstance(path, RemotePath) and path.is_web:
        from tidemill.data.files.web import find_web_absence

        if answer := find_web_absence(path):
            return f"where there is nothing: the server answers {answer}"
    return "where there is nothing"


def name_special(path: Path) -> str | None:
    """What stands at a local path that is neither file nor folder; None where nothing does, or one of these."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    return next((word for test, word in _SPECIAL if test(mode)), None)


_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def iter_files(
    root: AnyPath, *, prefix: str = "", start: str = "", enters: Callable[[str], bool] | None = None
) -> Iterator[str]:
    """The names of the files below `root`, relative to it and sorted as whole strings, from `start` on.

    A local folder is listed when it is come to, and so is one of most remote file systems. S3 is listed by pages of
    1,000 keys, so that the first name costs one request however many there are.

    Args:
        prefix: what the names begin with.
        enters: whether the folder of this name is gone into; None for no folder at all.

    Raises:
        ResourceError: a folder cannot be listed.
    """
    local = find_local(root)
    if local is not None:
        return _walk(lambda folder: _list_local(local / folder), "", prefix, start, enters)
    from tidemill.data.files.remote import find_key_pager, list_remote

    remote = cast(RemotePath, root)
    pager = find_key_pager(remote)
    if pager is not None:
        return pager(prefix, start, enters is not None)
    return _walk(lambda folder: list_remote(remote / folder if folder else remote), "", prefix, start, enters)


def _walk(
    list_folder: Callable[[str], list[Entry]],
    folder: str,
    prefix: str,
    start: str,
    enters: Callable[[str], bool] | None,
) -> Iterator[str]:
    # A folder's slash takes part in the order, as it does in the names below it: `a-b/c` stands before `a/c`.
    keys = sorted(folder + name + "/" if is_folder else folder + name for name, is_folder in list_folder(folder))
    for key in keys:
        if not key.startswith(prefix[: len(key)]) or (key < start and not (key[-1] == "/" and start.startswith(key))):
            continue
        if key[-1] != "/":
            yield key
        elif enters is not None and enters(key[:-1]):
            yield from _walk(list_folder, key, prefix, start, enters)


def _is_folder(entry: os.DirEntry[str]) -> bool | None:
    """Whether it is a folder, or a file; None for what is neither: a pipe, a device, a socket.

    A link that leads nowhere is a file, so that who comes to it is told that there is none.
    """
    try:
        if entry.is_dir():
            return True
        return False if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)) else None
    except OSError:  # a link that leads to itself
        return False


def _list_local(folder: Path) -> list[Entry]:
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, is_folder) for entry in entries if (is_folder := _is_folder(entry)) is not None]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ResourceError(f"cannot be listed: {error.strerror or error}", where=str(folder)) from error
