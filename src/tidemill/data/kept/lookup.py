"""Records by the digest of a key: in memory, and where that is full in one file that is searched in place.

The file has the entries in the order of their digests, each a digest, a length (four bytes) and a pickled record, and
behind them a table: for each number that a digest can begin with, where the first such entry stands.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable, Iterator
from operator import itemgetter

from tidemill.data.kept.encoding import make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.runs import Merged, Runs
from tidemill.data.keys import DIGEST_BYTES

ENTRY_BYTES = 150
"""What an entry in memory takes besides its bytes."""

MOST_BITS = 22
"""Bits of a digest that the table goes by at most: 32 MiB of it while it is made."""

_NAME = "table"
_HEAD = DIGEST_BYTES
_FRAME = DIGEST_BYTES + 4

Entry = tuple[bytes, bytes]
"""A digest, and a pickled record."""


class Lookup:
    """Pickled records by digest, those of one in the order they came.

    Args:
        folder: where what is more than memory holds is written.
        memory: bytes held in memory, about.
    """

    def __init__(self, folder: KeptFolder, memory: int) -> None:
        self._folder = folder
        self._limit = memory
        self._runs = Runs(folder, "run")
        self._held: dict[bytes, list[bytes]] = {}
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
        for digest, payload in entries:
            self._held.setdefault(digest, []).append(payload)
            size += len(payload) + ENTRY_BYTES
            count += 1
            if size >= self._limit:
                check = self._spill(runs, check)
                size, runs = 0, runs + 1
        if runs:
            check = self._spill(runs, check)
            level, left, check = self._runs.merge_down(runs + 1, check)
            with self._runs.open(level, 0, left, check=check) as merged:
                self._table = self._write_table(merged, count, bytes.fromhex(check))

    def find(self, digest: bytes) -> list[bytes]:
        """The pickled records of a digest."""
        return self._held.get(digest, []) if self._table is None else self._table.find(digest)

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._table is not None:
            self._table.close()

    def _spill(self, number: int, before: str) -> str:
        encode = make_encoder()
        ordered = sorted(self._held.items(), key=itemgetter(0))
        payloads = (encode((digest, payload)) for digest, held in ordered for payload in held)
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
                file.write(digest + len(payload).to_bytes(4, "little") + payload)
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
        self._firsts = len(self._map) - ((1 << bits) + 1) * 8
        self.check = self._map[:_HEAD]

    def find(self, digest: bytes) -> list[bytes]:
        return list(self._iter_found(digest))

    def _iter_found(self, digest: bytes) -> Iterator[bytes]:
        entries = self._map
        at = self._firsts + _first_bits(digest, self._bits) * 8
        place, stop = memoryview(entries[at : at + 16]).cast("Q")
        while place < stop:
            behind = place + _FRAME + int.from_bytes(entries[place + DIGEST_BYTES : place + _FRAME], "little")
            if entries[place : place + DIGEST_BYTES] == digest:
                yield entries[place + _FRAME : behind]
            place = behind

    def close(self) -> None:
        self._map.close()


def _first_bits(digest: bytes, bits: int) -> int:
    return int.from_bytes(digest[:4]) >> (32 - bits)
