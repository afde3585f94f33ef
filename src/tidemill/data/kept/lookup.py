"""Records by a key: in memory, and where that is full by its digest in one file that is searched in place.

The file has the entries in the order of their digests, each a digest, a length (four bytes) and a pickled record, and
behind them a table: for each number that a digest can begin with, where the first such entry stands.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable
from operator import itemgetter
from struct import Struct

from tidemill.data.kept.encoding import make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.runs import Merged, Runs
from tidemill.data.keys import DIGEST_BYTES, Named, digest_named

ENTRY_BYTES = 180
"""What an entry in memory takes besides its bytes."""

MOST_BITS = 22
"""Bits of a digest that the table goes by at most: 32 MiB of it while it is made."""

_NAME = "table"
_HEAD = DIGEST_BYTES
_HEADER = Struct(f"<{DIGEST_BYTES}sI")
_FRAME = _HEADER.size
_STRETCH = Struct("=2Q")
_PLACE_BYTES = 8

Entry = tuple[Named, bytes]
"""What stands for a key, and a pickled record."""


class Lookup:
    """Pickled records by key, those of one in the order they came.

    Args:
        folder: where what is more than memory holds is written.
        memory: bytes held in memory, about.
    """

    def __init__(self, folder: KeptFolder, memory: int) -> None:
        self._folder = folder
        self._limit = memory
        self._runs = Runs(folder, "run")
        self._held: dict[Named, bytes | list[bytes]] = {}  # one alone in no list, of which there would be millions
        self._table: _Table | None = None

    def fill(self, entries: Iterable[Entry]) -> None:
        """Take in all there are, in the place of what there was.

        Raises:
            ResourceError: the disk is full or fails.
        """
        with self._folder.explaining():
            self._fill(entries)

    def _fill(self, entries: Iterable[Entry]) -> None:
        self._held = {}
        size = count = runs = 0
        check = ""
        for named, payload in entries:
            self._hold(named, payload)
            size += len(payload) + ENTRY_BYTES + _count_text(named)
            count += 1
            if size >= self._limit:
                check = self._spill(runs, check)
                size, runs = 0, runs + 1
        if runs:
            check = self._spill(runs, check)
            level, left, check = self._runs.merge_down(runs + 1, check)
            with self._runs.open(level, 0, left, check=check) as merged:
                self._table = self._write_table(merged, count, bytes.fromhex(check))

    def find(self, named: Named) -> list[bytes]:
        """The pickled records of a key."""
        if self._table is not None:
            return self._table.find(digest_named(named))
        held = self._held.get(named, [])
        return [held] if isinstance(held, bytes) else held

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._table is not None:
            self._table.close()

    def _hold(self, named: Named, payload: bytes) -> None:
        held = self._held.get(named)
        if held is None:
            self._held[named] = payload
        elif isinstance(held, bytes):
            self._held[named] = [held, payload]
        else:
            held.append(payload)

    def _spill(self, number: int, before: str) -> str:
        encode = make_encoder()
        ordered = sorted(((digest_named(named), held) for named, held in self._held.items()), key=itemgetter(0))
        payloads = (
            encode((digest, payload))
            for digest, held in ordered
            for payload in ([held] if isinstance(held, bytes) else held)
        )
        check = self._runs.write(0, number, payloads, before)
        self._held = {}
        return check

    def _write_table(self, merged: Merged, count: int, check: bytes) -> _Table:
        bits = min(MOST_BITS, max(1, (count // 4).bit_length()))
        firsts = array("Q")
        place = _HEAD
        with self._folder.create_file(_NAME) as file:
            file.write(check)
            for digest, payload, _ in merged:
                while len(firsts) <= _first_bits(digest, bits):
                    firsts.append(place)
                file.write(_HEADER.pack(digest, len(payload)) + payload)
                place += _FRAME + len(payload)
            firsts.extend([place] * ((1 << bits) + 1 - len(firsts)))
            file.write(firsts.tobytes())
        table = _Table(self._folder, bits)
        if table.check != check:
            table.close()
            raise self._folder.lost(_NAME)
        return table


class _Table:
    """The file, mapped into memory."""

    def __init__(self, folder: KeptFolder, bits: int) -> None:
        with open(folder.path / _NAME, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bits = bits
        self._firsts = len(self._map) - ((1 << bits) + 1) * _PLACE_BYTES
        self.check = self._map[:_HEAD]

    def find(self, digest: bytes) -> list[bytes]:
        found = []
        entries = self._map
        place, stop = _STRETCH.unpack_from(entries, self._firsts + _first_bits(digest, self._bits) * _PLACE_BYTES)
        while place < stop:
            known, size = _HEADER.unpack_from(entries, place)
            behind = place + _FRAME + size
            if known == digest:
                found.append(entries[place + _FRAME : behind])
            place = behind
        return found

    def close(self) -> None:
        self._map.close()


def _count_text(named: Named) -> int:
    """The characters of a key that is held itself."""
    return 0 if isinstance(named, bytes) else sum([len(each) for each in named if isinstance(each, str)])


def _first_bits(digest: bytes, bits: int) -> int:
    return int.from_bytes(digest[:4]) >> (32 - bits)
