"""A set of 16-byte digests that grows on disk.

A log holds them in the order they were added: what a state says, a count, names the set as it was. Every
`STRETCH` of them are sorted into a file of their own, `FAN` files into one of the next level; a lookup is one search
in each, among the few digests that begin with the same two bytes. Sorted files follow from the log, and are made anew
where they are gone.
"""

from __future__ import annotations

import hashlib
import mmap
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tidemill.data.kept.folder import KeptFolder
from tidemill.data.keys import DIGEST_BYTES
from tidemill.protocols import State

STRETCH = 1 << 18
"""Digests held in memory, some 25 MB; sorted into one file when they are so many."""

FAN = 8
"""Sorted files of one level that are merged into one of the next."""

_PREFIXES = 1 << 16
_HEAD_BYTES = DIGEST_BYTES
_LOG = "keys"


class DigestSet:
    """Digests, each added once. Threads: one at a time.

    Memory: `STRETCH` digests, and a table of 256 KiB for each sorted file: 9 of them for 10^7 digests.

    Args:
        folder: where they are kept.
        mark: a state of an earlier one, to go on from.

    Raises:
        StateError: the folder does not hold what the mark says.
    """

    def __init__(self, folder: KeptFolder, mark: State | None = None) -> None:
        self._folder = folder
        self._recent: set[bytes] = set()
        self._sorted: list[_Sorted] = []
        self._hash: Any = hashlib.blake2b(digest_size=DIGEST_BYTES)  # of all but those in `_tail`
        self._tail: list[bytes] = []
        self._count = 0
        self._written = 0
        if mark is not None:
            self._load(mark)

    def add(self, digest: bytes) -> bool:
        """Whether it was not there; it is now."""
        if digest in self._recent:
            return False
        for each in self._sorted:
            if digest in each:
                return False
        self._recent.add(digest)
        self._tail.append(digest)
        self._count += 1
        if len(self._recent) >= STRETCH:
            self._sort_recent()
        return True

    def mark(self, back: int = 0) -> State | None:
        """What there is, JSON, which is on disk now; with `back=1`, in front of the digest added last."""
        self._write_tail()
        count = self._count - back
        if count <= 0:
            return None
        seen = self._hash.copy()
        if not back:
            seen.update(b"".join(self._tail))
        return {"count": count, "check": seen.hexdigest()}

    def close(self) -> None:
        """Close the files; may be called twice."""
        for each in self._sorted:
            each.close()

    def _write_tail(self) -> None:
        """Put what was added since into the log. The digest added last stays out of the hash, for `mark(1)`."""
        new = self._tail[self._written - self._count :] if self._written < self._count else []
        if new:
            path = self._folder.make() / _LOG
            self._folder.disk.write_at(path, self._written * DIGEST_BYTES, b"".join(new))
            if not self._written:
                self._folder.disk.sync_folder(self._folder.path)
            self._written = self._count
        self._hash.update(b"".join(self._tail[:-1]))
        self._tail = self._tail[-1:]

    def _sort_recent(self) -> None:
        self._write_tail()
        number = self._count // STRETCH - 1
        self._sorted.append(self._write_sorted(0, number, iter((sorted(self._recent),)), self._find_check()))
        self._recent = set()
        self._merge()

    def _find_check(self) -> bytes:
        """The hash of all there are."""
        seen = self._hash.copy()
        seen.update(b"".join(self._tail))
        return bytes(seen.digest())

    def _merge(self) -> None:
        """Merge the last `FAN` files of one level into one, level by level."""
        while len(self._sorted) >= FAN and self._sorted[-FAN].level == self._sorted[-1].level:
            merged = self._sorted[-FAN:]
            level, number = merged[-1].level + 1, merged[-1].number // FAN
            self._sorted[-FAN:] = [self._write_sorted(level, number, _iter_merged(merged), merged[-1].check)]
            for each in merged:
                each.close()
                self._folder.disk.remove(each.path)  # made anew from the log where a state needs it

    def _write_sorted(self, level: int, number: int, blocks: Iterator[list[bytes]], check: bytes) -> _Sorted:
        """A sorted file of digests that come in blocks, each of whole prefixes; opened before it has its name."""
        path = self._folder.make() / f"sorted-{level}-{number:06d}"
        with self._folder.create_file(path.name) as file:
            _write_blocks(file, blocks, check)
        opened = _Sorted(path, level, number)
        if opened.check != check:
            opened.close()
            raise self._folder.lost(path.name)
        return opened

    def _load(self, mark: State) -> None:
        """Open what the mark says: the sorted files of whole stretches, and from the log what is behind them."""
        self._count = self._written = mark["count"]
        whole = self._count // STRETCH
        wanted = dict(_iter_levels(whole))
        try:
            with open(self._folder.path / _LOG, "rb") as log:
                for stretch in range(whole):
                    data = self._read(log, STRETCH)
                    self._hash.update(data)
                    if level := wanted.get(stretch + 1):
                        self._open_sorted(*level, log)
                self._tail = _split(self._read(log, self._count - whole * STRETCH))
        except FileNotFoundError:
            raise self._folder.lost(_LOG) from None
        if self._find_check().hex() != mark["check"]:
            raise self._folder.lost(_LOG)
        self._recent = set(self._tail)
        self._hash.update(b"".join(self._tail[:-1]))
        self._tail = self._tail[-1:]

    def _read(self, log: IO[bytes], count: int) -> bytes:
        data = log.read(count * DIGEST_BYTES)
        if len(data) != count * DIGEST_BYTES:
            raise self._folder.lost(_LOG)
        return data

    def _open_sorted(self, level: int, number: int, log: IO[bytes]) -> None:
        """The sorted file, made anew from the log when it is not there or not of these digests."""
        check = self._find_check()
        try:
            opened = _Sorted(self._folder.path / f"sorted-{level}-{number:06d}", level, number)
        except (OSError, ValueError):
            pass
        else:
            if opened.check == check:
                self._sorted.append(opened)
                return
            opened.close()
        place = log.tell()
        stretches = FAN**level
        self._sorted.append(self._write_sorted(level, number, _iter_log(log, number * stretches, stretches), check))
        log.seek(place)


class _Sorted:
    """A sorted file: the check of its digests, these, and of each prefix the number of the first."""

    def __init__(self, path: Path, level: int, number: int) -> None:
        self.path = path
        self.level = level
        self.number = number
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table_bytes = (_PREFIXES + 1) * 4
        count = (len(self._map) - _HEAD_BYTES - table_bytes) // DIGEST_BYTES
        if count != FAN**level * STRETCH:
            self._map.close()
            raise ValueError("not a whole file")
        self.check = self._map[:_HEAD_BYTES]
        self._table = array("I", self._map[-table_bytes:])

    def __contains__(self, digest: bytes) -> bool:
        prefix = digest[0] << 8 | digest[1]
        start = _HEAD_BYTES + self._table[prefix] * DIGEST_BYTES
        stop = _HEAD_BYTES + self._table[prefix + 1] * DIGEST_BYTES
        return self._map.find(digest, start, stop) >= 0

    def slice(self, first: int) -> list[bytes]:
        """The digests whose first byte it is."""
        start, stop = self._table[first << 8], self._table[(first + 1) << 8]
        return _split(self._map[_HEAD_BYTES + start * DIGEST_BYTES : _HEAD_BYTES + stop * DIGEST_BYTES])

    def close(self) -> None:
        self._map.close()


def _split(data: bytes) -> list[bytes]:
    return [data[place : place + DIGEST_BYTES] for place in range(0, len(data), DIGEST_BYTES)]


def _iter_merged(files: list[_Sorted]) -> Iterator[list[bytes]]:
    for first in range(256):
        yield sorted(digest for each in files for digest in each.slice(first))


def _iter_log(log: IO[bytes], start: int, stretches: int) -> Iterator[list[bytes]]:
    """The digests of so many stretches of the log, sorted, in blocks that a stretch's memory holds."""
    parts = min(256, stretches)
    step = 256 // parts
    for first in range(0, 256, step):
        log.seek(start * STRETCH * DIGEST_BYTES)
        block: list[bytes] = []
        for _ in range(stretches):
            digests = _split(log.read(STRETCH * DIGEST_BYTES))
            block += [digest for digest in digests if first <= digest[0] < first + step]
        yield sorted(block)


def _write_blocks(file: IO[bytes], blocks: Iterator[list[bytes]], check: bytes) -> None:
    file.write(check)
    firsts = array("I")
    written = 0
    for block in blocks:
        file.write(b"".join(block))
        last = (block[-1][0] << 8 | block[-1][1]) + 1 if block else 0
        place = 0
        while len(firsts) < last:
            place = bisect_left(block, len(firsts).to_bytes(2), place)
            firsts.append(written + place)
        written += len(block)
    firsts.extend([written] * (_PREFIXES + 1 - len(firsts)))
    file.write(firsts.tobytes())


def _iter_levels(whole: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """The sorted files of so many whole stretches, by the number of the last stretch behind each."""
    level = 0
    while FAN ** (level + 1) <= whole:
        level += 1
    behind = 0
    while level >= 0:
        while behind + FAN**level <= whole:
            yield behind + FAN**level, (level, behind // FAN**level)
            behind += FAN**level
        level -= 1
