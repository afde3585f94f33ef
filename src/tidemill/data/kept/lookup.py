"""Records by a key: in memory, and where that is full in one file that is searched in place.

The file has the entries in the order of their keys' hashes, each a hash and a length (four bytes each) and a pickled
key and record, and behind them a table: for each number that a hash can begin with, where the first such entry stands.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from struct import Struct
from typing import Any

from tidemill.data.kept.encoding import decode
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.shares import Columns, Shares
from tidemill.data.records.keys import HASH_BITS, Named, hash_named

ENTRY_BYTES = 180
"""What an entry in memory takes besides its bytes."""

MOST_BITS = 22
"""Bits of a hash that the table goes by at most: 32 MiB of it while it is made."""

_NAME = "table"
_CHECK_BYTES = 16
_HEADER = Struct("<2I")
_SPAN = Struct("=2Q")
_PLACE_BYTES = 8

Entry = tuple[Named, bytes]
"""What stands for a key, and that and a record, pickled."""

Find = Callable[[Named], list[Any]]
"""Gives the records of a key, in the order they came."""


class Lookup:
    """Records by key, those of one in the order they came.

    Args:
        folder: where what is more than memory holds is written.
        memory: bytes held in memory, about.
    """

    def __init__(self, folder: KeptFolder, memory: int) -> None:
        self._folder = folder
        self._limit = memory
        self._runs = Shares(folder, "run", memory)
        self._held: dict[Named, bytes | list[bytes]] = {}  # one alone in no list, of which there would be millions
        self._table: _Table | None = None

    def fill(self, entries: Iterable[Entry]) -> Find:
        """Take in all there are, in the place of what there was; gives what finds the records of a key.

        Raises:
            ResourceError: the disk is full or fails.
        """
        with self._folder.explaining():
            return self._fill(entries)

    def _fill(self, entries: Iterable[Entry]) -> Find:
        self._held = {}
        size = count = runs = 0
        check = ""
        for named, payload in entries:
            held = self._held.get(named)
            if held is None:
                self._held[named] = payload
            elif isinstance(held, bytes):
                self._held[named] = [held, payload]
            else:
                held.append(payload)
            size += len(payload) + ENTRY_BYTES + (0 if type(named) is int else _count_text(named))
            count += 1
            if size >= self._limit:
                check = self._spill(runs, check)
                size, runs = 0, runs + 1
        if not runs:
            return self._find
        check = self._spill(runs, check)
        self._table = self._write_table(self._runs.iter_shares(runs + 1, check), count, bytes.fromhex(check))
        return self._table.make_find()

    def _find(self, named: Named) -> list[Any]:
        held = self._held.get(named)
        if held is None:
            return []
        return [decode(held)[1]] if isinstance(held, bytes) else [decode(each)[1] for each in held]

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._table is not None:
            self._table.close()

    def _spill(self, number: int, before: str) -> str:
        hashes = list(map(hash_named, self._held))
        payloads: list[Any] = list(self._held.values())
        self._held = {}
        if list in set(map(type, payloads)):
            several = [each if type(each) is list else [each] for each in payloads]
            hashes = [hashed for hashed, each in zip(hashes, several, strict=True) for _ in each]
            payloads = list(chain.from_iterable(several))
        return self._runs.write(number, [hashes, payloads], before)

    def _write_table(self, shares: Iterable[Iterable[Columns]], count: int, check: bytes) -> _Table:
        shift = HASH_BITS - min(MOST_BITS, max(1, count.bit_length()))
        firsts = array("Q")
        place = _CHECK_BYTES
        with self._folder.create_file(_NAME) as file:
            file.write(check)
            for share in shares:
                written: list[bytes] = []
                for hashed, payload in _iter_sorted(share):
                    while len(firsts) <= hashed >> shift:
                        firsts.append(place)
                    written += (_HEADER.pack(hashed, len(payload)), payload)
                    place += _HEADER.size + len(payload)
                file.write(b"".join(written))
            firsts.extend([place] * ((1 << HASH_BITS - shift) + 1 - len(firsts)))
            file.write(firsts.tobytes())
        table = _Table(self._folder, shift)
        if table.check != check:
            table.close()
            raise self._folder.lost(_NAME)
        return table


class _Table:
    """The file, mapped into memory."""

    def __init__(self, folder: KeptFolder, shift: int) -> None:
        with open(folder.path / _NAME, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._shift = shift
        self._firsts = len(self._map) - ((1 << HASH_BITS - shift) + 1) * _PLACE_BYTES
        self.check = self._map[:_CHECK_BYTES]

    def make_find(self) -> Find:
        entries, shift, firsts, header_bytes = self._map, self._shift, self._firsts, _HEADER.size
        find_span, find_header = _SPAN.unpack_from, _HEADER.unpack_from

        def find(named: Named) -> list[Any]:
            found = []
            hashed = hash_named(named)
            place, stop = find_span(entries, firsts + (hashed >> shift) * _PLACE_BYTES)
            while place < stop:
                known, size = find_header(entries, place)
                start = place + header_bytes
                place = start + size
                if known == hashed:
                    its, record = decode(entries[start:place])
                    if its == named:
                        found.append(record)
            return found

        return find

    def close(self) -> None:
        self._map.close()


def _iter_sorted(share: Iterable[Columns]) -> Iterator[tuple[int, bytes]]:
    """Hashes and pickled records by their hashes, those of one as they came."""
    hashes: list[int] = []
    payloads: list[bytes] = []
    for columns in share:
        hashes += columns[0]
        payloads += columns[1]
    return ((hashes[place], payloads[place]) for place in sorted(range(len(hashes)), key=hashes.__getitem__))


def _count_text(named: Named) -> int:
    """The characters of a key that is held itself."""
    parts = named if isinstance(named, tuple) else (named,)
    return sum([len(each) for each in parts if isinstance(each, str)])
