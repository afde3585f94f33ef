"""Files as they are written: packed by suffix, there whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from tidemill.data.files.codecs import find_codec
from tidemill.data.files.path import AnyPath, RemotePath, find_local
from tidemill.disk import Disk


@contextlib.contextmanager
def create_file(path: AnyPath, *, disk: Disk | None = None) -> Iterator[BinaryIO]:
    """A new file at `path` for the block to write, and the folders around it; there whole or not at all.

    A local file is synced, renamed into place and its folder synced, each by `disk`; a remote one is committed.
    """
    local = find_local(path)
    if local is None:
        from tidemill.data.files.remote import create_remote

        with create_remote(cast(RemotePath, path)) as remote:
            yield remote
        return
    disk = disk or Disk()
    disk.make_folder(local.parent)
    with disk.create_file(local) as file:
        yield file
    disk.sync_folder(local.parent)


@contextlib.contextmanager
def create_text(path: AnyPath, file: BinaryIO) -> Iterator[BinaryIO]:
    """What is written to the result goes into `file`, packed as `path` says; the same bytes each time.

    `file` stays open.
    """
    codec = find_codec(path)
    if codec is None:
        yield file
        return
    with codec.wrap(file) as packed:
        yield packed
