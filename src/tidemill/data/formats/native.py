"""Files as pyarrow reads them: at any position, from any thread or forked process."""

from __future__ import annotations

import os
from io import IOBase
from pathlib import Path
from typing import TYPE_CHECKING, cast

from isal import isal_zlib

from tidemill.data.files import find_local, open_random, stat_file
from tidemill.errors import ResourceError
from tidemill.protocols import Growth, State

if TYPE_CHECKING:
    import pyarrow as pa


def open_native(path: Path, *, mapped: bool = False) -> pa.NativeFile:
    """The file at `path`; a local one without Python between it and its reader, `mapped` into memory if asked.

    Raises:
        ResourceError: it cannot be opened.
    """
    import pyarrow as pa

    local = find_local(path)
    if local is None:
        return pa.PythonFile(cast(IOBase, open_random(path)), mode="r")
    try:
        return pa.memory_map(os.fspath(local)) if mapped and local.stat().st_size else pa.OSFile(os.fspath(local), "r")
    except OSError as error:
        raise ResourceError(
            f"cannot be read: {os.strerror(error.errno) if error.errno else error}", where=str(path)
        ) from error


def sum_footer(source: pa.NativeFile, magic: bytes) -> int | None:
    """The CRC-32 of a footer that ends in its own length (4 bytes, little-endian) and `magic`; None of no such file."""
    size = source.size()
    tail_bytes = 4 + len(magic)
    if size < tail_bytes:
        return None
    source.seek(size - tail_bytes)
    tail = source.read()
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != magic or length > size - tail_bytes:
        return None
    source.seek(size - tail_bytes - length)
    return isal_zlib.crc32(source.read())


def compare_footer(path: Path, state: State, magic: bytes) -> Growth:
    """Whether a file that is written once is the one of `state`: by size and time of change, else by its footer."""
    try:
        if stat_file(path) == {name: state[name] for name in stat_file(path)}:
            return "same"
        if "footer" not in state:
            return "edited"
        with open_native(path) as source:
            return "same" if sum_footer(source, magic) == state["footer"] else "edited"
    except (ResourceError, KeyError):
        return "edited"
