"""Runs in shares: what memory held by key, written out when it is full, and read again one share of the keys at a time.

What memory held is columns, the first of which has the hashes of the keys: these say which share an entry belongs to,
in every run. A run is a file of shares, each its own pickled columns, and behind them where each begins and the last
one ends; `kept/checked.py` has what is in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any

from tidemill.data.kept.checked import HEAD_BYTES, open_checked, write_checked
from tidemill.data.kept.encoding import decode, make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.records.keys import HASH_BITS

_MOST = 256
_LEAST_BYTES = 128 << 10
"""Of what memory holds, a share of a run is so much at least: of smaller ones, opening the file is what takes time."""

_FAN = 16
"""Runs that are put together at least."""

_MOST_MERGED = 1 << 16
"""Shares of runs that were put together, at most."""

_BUFFER_BYTES = 1 << 10
_SPAN = Struct("<2Q")
_PLACE = Struct("<Q")

Columns = list[list[Any]]
"""What each entry has of one thing, the hashes first."""


class Shares:
    """The runs of one step. Memory: half of what one run held, about, or 4 MiB, however many there are.

    Runs that are too many to be read share by share are put together into longer ones of more shares, level by level.

    Args:
        folder: where they stand.
        kind: what their names begin with.
        memory: what a run held in memory at most, about.
    """

    def __init__(self, folder: KeptFolder, kind: str, memory: int) -> None:
        self._count = max(1, min(_MOST, memory // _LEAST_BYTES))
        self._fan = max(_FAN, self._count // 2)
        self._folder = folder
        self._kind = kind
        self._encode = make_encoder()

    def write(self, number: int, columns: Columns, before: str) -> str:
        """Write a run; gives its check.

        Args:
            before: the check of the run before it, empty for the first.

        Raises:
            DataError: a value cannot be pickled.
        """
        return self._write(0, number, self._iter_encoded(columns, self._count, range(self._count)), before)

    def iter_shares(self, runs: int, check: str) -> Iterator[Iterator[Columns]]:
        """The entries of so many runs, those of lower hashes first, a share at a time: of each run in their order.

        Args:
            check: that of the last run.

        Raises:
            StateError: a run is gone, or was written over.
        """
        level, count = 0, self._count
        checks = self._find_checks(level, runs, check)
        while len(checks) > self._fan:
            checks, count = self._merge(level, count, checks)
            level += 1
        parts = max(1, -(-2 * runs // count))  # of a share: together they are what so many runs held
        for share in range(count):
            for part in range(share * parts, (share + 1) * parts):
                columns = self._iter_read(level, share, enumerate(checks))
                yield columns if parts == 1 else _iter_part(columns, part, count * parts)

    def _merge(self, level: int, count: int, checks: Sequence[str]) -> tuple[list[str], int]:
        """Put runs of a level together; gives the checks of those of the next, and how many shares they have."""
        more = self._fan if count * self._fan <= _MOST_MERGED else 1
        merged: list[str] = []
        for first in range(0, len(checks), self._fan):
            numbered = list(enumerate(checks))[first : first + self._fan]
            data = self._iter_merged(level, count, more, numbered)
            merged.append(self._write(level + 1, len(merged), data, merged[-1] if merged else ""))
        return merged, count * more

    def _iter_merged(self, level: int, count: int, more: int, numbered: Sequence[tuple[int, str]]) -> Iterator[bytes]:
        for share in range(count):
            together: Columns = []
            for columns in self._iter_read(level, share, numbered):
                together = [own + new for own, new in zip(together, columns, strict=True)] if together else columns
            yield from self._iter_encoded(together, count * more, range(share * more, (share + 1) * more))

    def _iter_encoded(self, columns: Columns, count: int, shares: range) -> Iterator[bytes]:
        """Some of `count` shares, which all entries are in."""
        found: list[list[int]] = [[] for _ in shares]
        for place, hashed in enumerate(columns[0] if columns else ()):
            found[(hashed * count >> HASH_BITS) - shares.start].append(place)
        for places in found:
            yield self._encode(_pick(columns, places)) if places else b""

    def _write(self, level: int, number: int, shares: Iterator[bytes], before: str) -> str:
        return write_checked(self._folder, self._name(level, number), _iter_placed(shares), before)

    def _iter_read(self, level: int, share: int, numbered: Iterable[tuple[int, str]]) -> Iterator[Columns]:
        """What runs, each with its number and check, have of a share."""
        for number, check in numbered:
            file, own = open_checked(self._folder, self._name(level, number), None, _BUFFER_BYTES)
            with file:
                if own != check:
                    raise self._folder.lost(self._name(level, number))
                file.seek(-_PLACE.size, 2)
                (places,) = _PLACE.unpack(file.read(_PLACE.size))
                file.seek(places + share * _PLACE.size)
                start, stop = _SPAN.unpack(file.read(_SPAN.size))
                file.seek(start)
                data = file.read(stop - start)
            if data:
                yield decode(data)

    def _find_checks(self, level: int, runs: int, check: str) -> list[str]:
        checks: list[str] = []
        for number in range(runs):
            name = self._name(level, number)
            file, own = open_checked(self._folder, name, checks[-1] if checks else None, _BUFFER_BYTES)
            file.close()
            checks.append(own)
        if checks and checks[-1] != check:
            raise self._folder.lost(self._name(level, runs - 1))
        return checks

    def _name(self, level: int, number: int) -> str:
        return f"{self._kind}-{level}-{number:06d}"


def _iter_placed(shares: Iterator[bytes]) -> Iterator[bytes]:
    """Shares, and behind them where each begins and the last one ends: where that stands is what is told last."""
    places = [HEAD_BYTES]
    for data in shares:
        places.append(places[-1] + len(data))
        yield data
    yield b"".join(map(_PLACE.pack, places))


def _iter_part(share: Iterator[Columns], part: int, parts: int) -> Iterator[Columns]:
    """The entries of a share that are in one of so many parts of all."""
    for columns in share:
        yield _pick(columns, [place for place, hashed in enumerate(columns[0]) if hashed * parts >> HASH_BITS == part])


def _pick(columns: Columns, places: list[int]) -> Columns:
    """The entries at these places."""
    if len(places) < 2:
        return [[column[place] for place in places] for column in columns]
    pick = itemgetter(*places)
    return [list(pick(column)) for column in columns]
