"""Records of a JSON Lines file by their number."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tidemill.data.files import BLOCK_BYTES
from tidemill.data.formats.indexed import IndexedFile
from tidemill.data.formats.json_lines import parse_all
from tidemill.data.formats.line_index import LINES
from tidemill.data.formats.runs import strip_line_end, where_at
from tidemill.data.reader import raise_each
from tidemill.errors import DataError
from tidemill.protocols import Record

_ONLY_DICTS = {dict}

ParseLine = Callable[[bytes, str, int], Record]


class JsonlRows:
    """The records of one plain JSON Lines file, as `Rows`; blank lines are none.

    Memory: none of its own but the index, 8 bytes a record, mapped from the user's cache; so is the file. The pages
    that were read are the system's to keep or to drop.

    Args:
        path: the file.
        parse_line: what a line that is no object is told by.
    """

    def __init__(self, path: Path, parse_line: ParseLine) -> None:
        self._path = path
        self._parse_line = parse_line
        self._opened: IndexedFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def count_rows(self) -> int:
        return len(self._open())

    def columns(self) -> tuple[str, ...]:
        return tuple(self.read_row(0)) if self.count_rows() else ()

    def read_row(self, index: int) -> Record:
        return self.read_rows((index,))[0]

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        opened = self._open()
        starts = opened.starts
        opened.check_unchanged(indices[0] if len(indices) else 0)
        data = opened.data
        lines = [data[starts[index] : starts[index + 1]] for index in indices]
        records = parse_all(lines, b"".join(lines))
        if records is None or set(map(type, records)) != _ONLY_DICTS:
            return [self._parse(opened, index) for index in indices]
        return records

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        return chain.from_iterable(self._iter_links(start, stop))

    def release(self) -> None:
        self._opened = None

    def _iter_links(self, start: int, stop: int) -> Iterator[Iterator[Record]]:
        """The records in runs that lie within a block, a corrupt one alone."""
        opened = self._open()
        starts = opened.starts
        while start < stop:
            opened.check_unchanged(start)
            after = start + 1
            while after < stop and starts[after] - starts[start] < BLOCK_BYTES:
                after = min(stop, after + _RUN_STEP)
            body = opened.data[starts[start] : starts[after]]
            records = parse_all(io.BytesIO(body), body)
            if records is not None and len(records) == after - start and set(map(type, records)) == _ONLY_DICTS:
                yield iter(records)
            else:
                yield from self._iter_careful(opened, start, after)
            start = after

    def _iter_careful(self, opened: IndexedFile, start: int, stop: int) -> Iterator[Iterator[Record]]:
        for index in range(start, stop):
            try:
                link: Iterator[Record] = iter((self._parse(opened, index),))
            except DataError as error:
                link = raise_each((error,))
            yield link

    def _parse(self, opened: IndexedFile, index: int) -> Record:
        start, stop = opened.starts[index], opened.starts[index + 1]
        line = opened.data[start:stop].partition(b"\n")[0]
        return self._parse_line(strip_line_end(line), where_at(self._path, start), start)

    def _open(self) -> IndexedFile:
        opened = self._opened
        if opened is None:
            self._opened = opened = IndexedFile(self._path, LINES)
        return opened


_RUN_STEP = 16
"""Records by which a run grows until it fills a block."""
