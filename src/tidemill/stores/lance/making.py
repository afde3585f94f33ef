"""A new table, made beside its place and put there whole."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa

from tidemill.disk import Disk
from tidemill.resources.threads import Threads
from tidemill.stores.lance.syncing import Syncing

_THERE = (errno.ENOTEMPTY, errno.EEXIST)
"""What the system says where a folder that is not empty is to be replaced (rename, POSIX)."""


async def make_folder(folder: Path, schema: pa.Schema, threads: Threads, disk: Disk | None) -> None:
    """Make a table's folder in one that is there, unless somebody else was quicker: one's stays, and is always whole.

    Made in its place by several at once, one's empty version would overwrite what another has put in since; and of one
    that is broken off Lance leaves a folder without a version, which is neither there nor to be made.
    A process that is killed meanwhile leaves a folder of some kilobytes, `.tidemill-…`, that nothing reads.

    Args:
        disk: which it is brought to before it is there; None leaves that to the system.

    Raises:
        OSError: as the system gives it; and what LanceDB raises.
    """
    import lancedb

    beside = await threads.run(_make_beside, folder.parent)
    try:
        syncing = None if disk is None else Syncing(beside / folder.name, disk)
        with await lancedb.connect_async(beside) as connection:
            (await connection.create_table(folder.stem, schema=schema)).close()
        await threads.run(_put_there, beside / folder.name, folder, syncing, disk)
    finally:
        await threads.run(shutil.rmtree, beside)


def _make_beside(folder: Path) -> Path:
    """A new folder within one, of no name that a table has."""
    return Path(tempfile.mkdtemp(prefix=".tidemill-", dir=folder))


def _put_there(made: Path, place: Path, syncing: Syncing | None, disk: Disk | None) -> None:
    def rename() -> None:
        os.rename(made, place)

    if syncing is not None:
        syncing.sync()
    try:
        rename() if disk is None else disk.perform("rename", place, rename)
    except OSError as error:
        if error.errno not in _THERE:
            raise
    if disk is not None:
        disk.sync_folder(place)
        disk.sync_folder(place.parent)
