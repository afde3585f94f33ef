"""Where the records of a file begin: an index of 8 bytes a record, kept between processes.

It is made in one pass and kept in the user's cache (`XDG_CACHE_HOME`, else `~/.cache`), one for each path, and made
anew when the file has another size, time of change, head or tail. Where the cache cannot be written, and for small
files, it is in memory.

Layout, little-endian, of 8 bytes each: magic; size of the file; digest of its size and time of change; CRC-32 of its
first and last 64 KiB; CRC-32 of the offsets; then the offset of each record, and where the last one ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from isal import isal_zlib

from tidemill.data.files import find_local, open_random, stat_file
from tidemill.data.formats.lines import BOM
from tidemill.errors import StateError

CACHED_FROM_BYTES = 1024 * 1024
"""Size of a file from which on its index is kept; a smaller one is indexed in the time it takes to look that up."""

_HEADER = struct.Struct("<8sQQQQ")
_SCAN_BYTES = 4 * 1024 * 1024
_ENDS_BYTES = 64 * 1024
_NEWLINE = 10


Write = Callable[[bytes | memoryview], object]


@dataclass(frozen=True)
class Indexing:
    """How the records of a format are found.

    Attributes:
        name: of the folder that its indexes are kept in.
        magic: 8 bytes that they begin with.
        build: writes the offset of each record of a file, then where the last one ends; 64-bit, of this machine.
    """

    name: str
    magic: bytes
    build: Callable[[BinaryIO, Write], None]


class RecordIndex:
    """The offsets of the records of one file as it was when the index was opened.

    Attributes:
        starts: 64-bit offsets of each record, then where the last one ends.
        stamp: size and time of change of the file.
    """

    def __init__(self, starts: memoryview, stamp: dict[str, Any]) -> None:
        self.starts = starts
        self.stamp = stamp


def open_index(path: Path, indexing: Indexing) -> RecordIndex:
    """The index of the file at `path`, out of the cache or made anew.

    Raises:
        ResourceError: the file cannot be read.
        StateError: the file changes while it is read.
    """
    stamp = stat_file(path)
    with open_random(path) as file:
        if stamp["size"] < CACHED_FROM_BYTES:
            return RecordIndex(_build_in_memory(file, indexing), stamp)
        digest = hashlib.sha256(orjson.dumps(stamp, option=orjson.OPT_SORT_KEYS)).digest()
        key = indexing.magic, stamp["size"], int.from_bytes(digest[:8], "little"), _sum_ends(file, stamp["size"])
        place = _find_place(path, indexing.name)
        starts = _load(place, key) or _build_in_cache(file, place, key, indexing) or _build_in_memory(file, indexing)
    if stat_file(path) != stamp:
        raise StateError("the file changed while its records were counted", where=str(path), hint="open it anew")
    return RecordIndex(starts, stamp)


def _find_place(path: Path, name: str) -> Path:
    """Where the index of a file is kept."""
    local = find_local(path)
    known_as = os.path.abspath(local) if local else str(path)
    named = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(named) if os.path.isabs(named) else Path(os.path.expanduser("~"), ".cache")
    return folder / "tidemill" / name / f"{hashlib.sha256(os.fsencode(known_as)).hexdigest()[:32]}.{name}"


def _sum_ends(file: BinaryIO, size_bytes: int) -> int:
    crc = isal_zlib.crc32(file.read(_ENDS_BYTES))
    file.seek(max(0, size_bytes - _ENDS_BYTES))
    return isal_zlib.crc32(file.read(_ENDS_BYTES), crc)


def _load(place: Path, key: tuple[bytes, int, int, int]) -> memoryview | None:
    """The offsets in an index file, None when there is none, or of another file, or it is damaged."""
    try:
        with open(place, "rb") as file:
            table = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # ValueError: an empty file
        return None
    offsets = table[_HEADER.size :]
    if len(table) < _HEADER.size or len(offsets) % 8:
        return None
    *found, crc = _HEADER.unpack_from(table)
    if tuple(found) != key or isal_zlib.crc32(offsets) != crc or sys.byteorder != "little":
        return None
    return offsets.cast("Q")


def _build_in_memory(file: BinaryIO, indexing: Indexing) -> memoryview:
    table = bytearray()
    indexing.build(file, table.extend)
    return memoryview(table).cast("Q")


def _build_in_cache(
    file: BinaryIO, place: Path, key: tuple[bytes, int, int, int], indexing: Indexing
) -> memoryview | None:
    """Write the index file and load it; None where it cannot be written.

    Written beside its place and renamed, so that processes that make the same one do no harm.
    """
    temporary = ""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=place.stem, suffix=".tmp", delete=False) as out:
            temporary = out.name
            out.write(bytes(_HEADER.size))
            crc = 0

            def write(offsets: bytes | memoryview) -> None:
                nonlocal crc
                crc = isal_zlib.crc32(offsets, crc)
                out.write(offsets)

            indexing.build(file, write)
            out.seek(0)
            out.write(_HEADER.pack(*key, crc))
        os.replace(temporary, place)
    except OSError:  # read-only, full or no home: an index in memory does as well
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return None
    return _load(place, key)


def _build_lines(file: BinaryIO, write: Write) -> None:
    """Write the offset of each line that is not blank, then the size of the file.

    A blank line counts to the record in front of it; those in front of the first to none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    newline, one = pa.scalar(_NEWLINE, pa.uint8()), pa.scalar(1, pa.uint64())
    blanks = pa.array(sorted(b" \t\n\r\v\f"), pa.uint8())
    file.seek(0)
    base = len(BOM) if file.read(len(BOM)) == BOM else 0
    file.seek(base)
    at_start = True  # of a line
    while block := file.read(_SCAN_BYTES):
        data = pa.Array.from_buffers(pa.uint8(), len(block), [None, pa.py_buffer(block)])
        starts = pc.add(pc.indices_nonzero(pc.equal(data, newline)), one)
        if at_start:
            starts = pa.concat_arrays([pa.array([0], pa.uint64()), starts])
        at_start = block.endswith(b"\n")
        if at_start:
            starts = starts.slice(0, len(starts) - 1)
        suspect = pc.is_in(data.take(starts), value_set=blanks)
        if pc.any(suspect).as_py():
            dropped = [bool(each) and _is_blank(file, block, base, start) for start, each in _zip(starts, suspect)]
            starts = starts.filter(pc.invert(pa.array(dropped)))
        starts = pc.add(starts, pa.scalar(base, pa.uint64()))
        offsets = memoryview(starts.buffers()[1] or b"")
        write(offsets[starts.offset * 8 : (starts.offset + len(starts)) * 8])
        base += len(block)
    write(base.to_bytes(8, sys.byteorder))


def _zip(starts: Any, suspect: Any) -> Iterator[tuple[int, bool]]:
    return zip(starts.to_pylist(), suspect.to_pylist(), strict=True)


def _is_blank(file: BinaryIO, block: bytes, base: int, start: int) -> bool:
    """Whether the line at `start` of the block, which stands at `base` of the file, is blank."""
    stop = block.find(b"\n", start)
    if stop >= 0:
        return block[start : stop + 1].isspace()
    after = file.tell()
    file.seek(base + start)
    blank = True
    while blank and (piece := file.read(_ENDS_BYTES)):
        line, newline, _ = piece.partition(b"\n")
        blank = not line or line.isspace()
        if newline:
            break
    file.seek(after)
    return blank


LINES = Indexing("lines", b"TMLINES1", _build_lines)
