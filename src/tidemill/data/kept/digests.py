"""What a `dedupe` has seen, on disk: a log of items, and sorted files of what they are found by.

A log holds items of one length in the order they were added: what a state says, a count, names the set as it was. Each
item is found by entries of 16 bytes. Every `STRETCH` of these are sorted into a file of their own, `FAN` files into one
of the next level; a lookup is one search in each, among the few that begin with the same two bytes. Sorted files follow
from the log, and are made anew where they are gone.
"""

from __future__ import annotations

import hashlib
import mmap
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tidemill.data.kept.folder import KeptFolder
from tidemill.protocols import State

ENTRY_BYTES = 16

STRETCH = 1 << 18
"""Entries held in memory, some 25 MB; sorted into one file when they are so many."""

FAN = 8
"""Sorted files of one level that are merged into one of the next."""

_PREFIXES = 1 << 16
_HEAD_BYTES = 16


class SortedLog(ABC):
    """Items in a log, and sorted files of their entries. Threads: one at a time.

    Memory: `STRETCH` entries, and a table of 256 KiB for each sorted file: 9 of them for 10^7 entries.

    Args:
        folder: where they are kept.
        name: of the log.
        item_bytes: how long each item is.
        entries: how many entries each has.
        mark: a state of an earlier one, to go on from.

    Raises:
        StateError: the folder does not hold what the mark says.
    """

    def __init__(self, folder: KeptFolder, name: str, item_bytes: int, entries: int, mark: State | None) -> None:
        self.count = 0
        self._folder = folder
        self._name = name
        self._item_bytes = item_bytes
        self._entries = entries
        self._stretch = STRETCH // entries
        self._sorted: list[_Sorted] = []
        self._hash: Any = hashlib.blake2b(digest_size=_HEAD_BYTES)  # of all but those in `_tail`
        self._tail: list[bytes] = []
        self._written = 0
        if mark is not None:
            self._load(mark)

    @abstractmethod
    def _hold(self, number: int, item: bytes) -> None:
        """Hold the entries of an item in memory."""

    @abstractmethod
    def _release(self) -> list[bytes]:
        """The entries held in memory, sorted; none are held any more."""

    @abstractmethod
    def _find_entries(self, number: int, item: bytes) -> Sequence[bytes]:
        """The entries of an item."""

    def append(self, item: bytes) -> None:
        """Add an item."""
        self._hold(self.count, item)
        self._tail.append(item)
        self.count += 1
        if self.count % self._stretch == 0:
            with self._folder.explaining():
                self._sort_recent()

    def mark(self, back: int = 0) -> State | None:
        """What there is, JSON, which is on disk now; with `back=1`, in front of the item added last."""
        with self._folder.explaining():
            self.write_tail()
        count = self.count - back
        if count <= 0:
            return None
        seen = self._hash.copy()
        if not back:
            seen.update(b"".join(self._tail))
        return {"count": count, "check": seen.hexdigest()}

    def read(self, number: int) -> bytes:
        """An item, from memory or from the log."""
        place = number - (self.count - len(self._tail))
        if place >= 0:
            return self._tail[place]
        with open(self._folder.path / self._name, "rb", buffering=0) as log:
            log.seek(number * self._item_bytes)
            return log.read(self._item_bytes)

    def close(self) -> None:
        """Close the files; may be called twice."""
        for each in self._sorted:
            each.close()

    def write_tail(self) -> None:
        """Put what was added since into the log. The item added last stays out of the hash, for `mark(1)`."""
        new = self._tail[self._written - self.count :] if self._written < self.count else []
        if new:
            path = self._folder.make() / self._name
            self._folder.disk.write_at(path, self._written * self._item_bytes, b"".join(new))
            if not self._written:
                self._folder.disk.sync_folder(self._folder.path)
            self._written = self.count
        self._hash.update(b"".join(self._tail[:-1]))
        self._tail = self._tail[-1:]

    def _sort_recent(self) -> None:
        self.write_tail()
        number = self.count // self._stretch - 1
        self._sorted.append(self._write_sorted(0, number, iter((self._release(),)), self._find_check()))
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
        """A sorted file of entries that come in blocks, each of whole prefixes."""
        path = self._folder.make() / f"sorted-{level}-{number:06d}"
        with self._folder.create_file(path.name) as file:
            _write_blocks(file, blocks, check)
        opened = _Sorted(path, level, number, self._count_entries(level))
        if opened.check != check:
            opened.close()
            raise self._folder.lost(path.name)
        return opened

    def _count_entries(self, level: int) -> int:
        return int(FAN**level * self._stretch * self._entries)

    def _load(self, mark: State) -> None:
        """Open what the mark says: the sorted files of whole stretches, and from the log what is behind them."""
        self.count = self._written = mark["count"]
        whole = self.count // self._stretch
        wanted = dict(_iter_levels(whole))
        try:
            with open(self._folder.path / self._name, "rb") as log:
                for stretch in range(whole):
                    self._hash.update(self._read(log, self._stretch))
                    if level := wanted.get(stretch + 1):
                        self._open_sorted(*level, log)
                self._tail = self._split(self._read(log, self.count - whole * self._stretch))
        except FileNotFoundError:
            raise self._folder.lost(self._name) from None
        if self._find_check().hex() != mark["check"]:
            raise self._folder.lost(self._name)
        for number, item in enumerate(self._tail, whole * self._stretch):
            self._hold(number, item)
        self._hash.update(b"".join(self._tail[:-1]))
        self._tail = self._tail[-1:]

    def _read(self, log: IO[bytes], count: int) -> bytes:
        data = log.read(count * self._item_bytes)
        if len(data) != count * self._item_bytes:
            raise self._folder.lost(self._name)
        return data

    def _split(self, data: bytes) -> list[bytes]:
        return [data[place : place + self._item_bytes] for place in range(0, len(data), self._item_bytes)]

    def _open_sorted(self, level: int, number: int, log: IO[bytes]) -> None:
        """The sorted file, made anew from the log when it is not there or not of these items."""
        check = self._find_check()
        path = self._folder.path / f"sorted-{level}-{number:06d}"
        try:
            opened = _Sorted(path, level, number, self._count_entries(level))
        except (OSError, ValueError):
            pass
        else:
            if opened.check == check:
                self._sorted.append(opened)
                return
            opened.close()
        place = log.tell()
        self._sorted.append(self._write_sorted(level, number, self._iter_log(log, level, number), check))
        log.seek(place)

    def _iter_log(self, log: IO[bytes], level: int, number: int) -> Iterator[list[bytes]]:
        """The entries of some stretches of the log, sorted, in blocks that a stretch's memory holds."""
        stretches = FAN**level
        start = number * stretches * self._stretch
        step = 256 // min(256, stretches)
        for first in range(0, 256, step):
            log.seek(start * self._item_bytes)
            block: list[bytes] = []
            for stretch in range(stretches):
                items = enumerate(self._split(self._read(log, self._stretch)), start + stretch * self._stretch)
                entries = (entry for place, item in items for entry in self._find_entries(place, item))
                block += [entry for entry in entries if first <= entry[0] < first + step]
            yield sorted(block)


class DigestSet(SortedLog):
    """Digests of 16 bytes, each added once."""

    def __init__(self, folder: KeptFolder, mark: State | None = None) -> None:
        self._recent: set[bytes] = set()
        super().__init__(folder, "keys", ENTRY_BYTES, 1, mark)

    def add(self, digest: bytes) -> bool:
        """Whether it was not there; it is now."""
        if digest in self._recent:
            return False
        for each in self._sorted:
            if digest in each:
                return False
        self.append(digest)
        return True

    def _hold(self, number: int, item: bytes) -> None:
        self._recent.add(item)

    def _release(self) -> list[bytes]:
        released, self._recent = sorted(self._recent), set()
        return released

    def _find_entries(self, number: int, item: bytes) -> Sequence[bytes]:
        return (item,)


class _Sorted:
    """A sorted file: the check of its items, their entries, and of each prefix the number of the first."""

    def __init__(self, path: Path, level: int, number: int, entries: int) -> None:
        self.path = path
        self.level = level
        self.number = number
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table_bytes = (_PREFIXES + 1) * 4
        if len(self._map) != _HEAD_BYTES + entries * ENTRY_BYTES + table_bytes:
            self._map.close()
            raise ValueError("not a whole file")
        self.check = self._map[:_HEAD_BYTES]
        self._table = array("I", self._map[-table_bytes:])

    def __contains__(self, entry: bytes) -> bool:
        return self._map.find(entry, *self._find_span(entry)) >= 0

    def iter_beginning(self, start: bytes) -> Iterator[bytes]:
        """The entries that begin so."""
        place, stop = self._find_span(start)
        while (place := self._map.find(start, place, stop)) >= 0:
            if (place - _HEAD_BYTES) % ENTRY_BYTES:
                place += 1
            else:
                yield self._map[place : place + ENTRY_BYTES]
                place += ENTRY_BYTES

    def _find_span(self, entry: bytes) -> tuple[int, int]:
        prefix = entry[0] << 8 | entry[1]
        return _HEAD_BYTES + self._table[prefix] * ENTRY_BYTES, _HEAD_BYTES + self._table[prefix + 1] * ENTRY_BYTES

    def slice(self, first: int) -> list[bytes]:
        """The entries whose first byte it is."""
        start, stop = self._table[first << 8], self._table[(first + 1) << 8]
        return _split(self._map[_HEAD_BYTES + start * ENTRY_BYTES : _HEAD_BYTES + stop * ENTRY_BYTES])

    def close(self) -> None:
        self._map.close()


def _split(data: bytes) -> list[bytes]:
    return [data[place : place + ENTRY_BYTES] for place in range(0, len(data), ENTRY_BYTES)]


def _iter_merged(files: list[_Sorted]) -> Iterator[list[bytes]]:
    for first in range(256):
        yield sorted(entry for each in files for entry in each.slice(first))


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
