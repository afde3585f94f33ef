"""Sorted runs: what an external sort writes whenever memory is full, and merges at the end.

A run is a file of frames, each a length (four bytes) and a pickled `(key, value)`, in the order of the keys;
`kept/checked.py` has what is in front.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import IO, Any

from tidemill.data.kept.checked import HEAD_BYTES, open_checked, write_checked
from tidemill.data.kept.encoding import decode
from tidemill.data.kept.folder import KeptFolder

FAN = 64
"""Runs that are merged at a time: so many files are open, each with a buffer."""

_BUFFER_BYTES = 128 << 10
_BLOCK = 1024

find_key: Callable[[Any], Any] = itemgetter(0)


class Runs:
    """The runs of one sort, of one level after the other: those of a level are merged into fewer of the next.

    Args:
        folder: where they stand.
        kind: what their names begin with.
        reverse: whether the largest key comes first; equal ones stay as they came.
    """

    def __init__(self, folder: KeptFolder, kind: str, *, reverse: bool = False) -> None:
        self._folder = folder
        self._kind = kind
        self._reverse = reverse

    def write(self, level: int, number: int, payloads: Iterable[bytes], before: str) -> str:
        """Write a run of pickled `(key, value)` in order; gives its check.

        Args:
            before: the check of the run before it, empty for the first.
        """
        return write_checked(self._folder, self._name(level, number), _iter_blocks(payloads), before)

    def merge_down(self, count: int, check: str) -> tuple[int, int, str]:
        """Merge runs until one merge takes all; gives the level they are at, how many they are, and their check."""
        level = 0
        while count > FAN:
            merged = ""
            for number, first in enumerate(range(0, count, FAN)):
                stop = min(first + FAN, count)
                with self.open(level, first, stop) as runs:
                    merged = self.write(level + 1, number, (payload for *_, payload in runs), merged)
            level, count, check = level + 1, -(-count // FAN), merged
        return level, count, check

    def open(
        self, level: int, first: int, stop: int, heads: list[int] | None = None, check: str | None = None
    ) -> Merged:
        """Runs of a level as one, from their starts or from `heads`.

        Raises:
            StateError: one is gone, or the last of them does not have this check.
        """
        files: list[IO[bytes]] = []
        before: str | None = None
        try:
            for number in range(first, stop):
                file, before = open_checked(self._folder, self._name(level, number), before, _BUFFER_BYTES)
                files.append(file)
            if check is not None and before is not None and before != check:
                raise self._folder.lost(self._name(level, stop - 1))
        except BaseException:
            for file in files:
                file.close()
            raise
        return Merged(files, heads or [HEAD_BYTES] * len(files), reverse=self._reverse)

    def _name(self, level: int, number: int) -> str:
        return f"{self._kind}-{level}-{number:06d}"


class Merged:
    """Several runs as one: gives `(key, value, payload)` in order. Closed at the end of a `with`, or when dropped.

    Attributes:
        heads: where in each run stands what was not given yet.
    """

    def __init__(self, files: list[IO[bytes]], heads: list[int], *, reverse: bool) -> None:
        self.heads = list(heads)
        self._files = files
        runs = [_iter_run(file, number, head) for number, (file, head) in enumerate(zip(files, heads, strict=True))]
        self._merged = runs[0] if len(runs) == 1 else heapq.merge(*runs, key=find_key, reverse=reverse)

    def __iter__(self) -> Iterator[tuple[Any, Any, bytes]]:
        for key, value, payload, number, behind in self._merged:
            self.heads[number] = behind
            yield key, value, payload

    def __enter__(self) -> Merged:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._files:
            file.close()


def _iter_blocks(payloads: Iterable[bytes]) -> Iterator[bytes]:
    left = iter(payloads)
    while block := list(islice(left, _BLOCK)):
        yield b"".join([part for each in block for part in (len(each).to_bytes(4, "little"), each)])


def _iter_run(file: IO[bytes], number: int, place: int) -> Iterator[tuple[Any, Any, bytes, int, int]]:
    file.seek(place)
    while length := file.read(4):
        payload = file.read(int.from_bytes(length, "little"))
        place += 4 + len(payload)
        key, value = decode(payload)
        yield key, value, payload, number, place
