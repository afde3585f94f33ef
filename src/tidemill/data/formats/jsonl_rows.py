"""Records of a JSON Lines file by their number."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tidemill.data.files import BLOCK_BYTES
from tidemill.data.formats.indexed import IndexedFile, IndexedFileRows
from tidemill.data.formats.json_lines import parse_all
from tidemill.data.formats.line_index import LINES
from tidemill.data.formats.runs import strip_line_end, where_at
from tidemill.protocols import Record

_ONLY_DICTS = {dict}

ParseLine = Callable[[bytes, str, int], Record]


class JsonlRows(IndexedFileRows):
    """The records of one plain JSON Lines file; blank lines are none.

    Args:
        path: the file.
        parse_line: what a line that is no object is told by.
    """

    indexing = LINES

    def __init__(self, path: Path, parse_line: ParseLine) -> None:
        super().__init__(path)
        self._parse_line = parse_line

    def _parse_all(self, opened: IndexedFile, indices: Sequence[int]) -> list[Record]:
        starts, data = opened.starts, opened.data
        lines = [data[starts[index] : starts[index + 1]] for index in indices]
        records = parse_all(lines, b"".join(lines))
        if records is None or set(map(type, records)) != _ONLY_DICTS:
            return super()._parse_all(opened, indices)
        return records

    def _iter_links(self, start: int, stop: int) -> Iterator[Iterator[Record]]:
        """The records in runs that lie within a block."""
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
                yield from (self._link(opened, index) for index in range(start, after))
            start = after

    def _parse(self, opened: IndexedFile, index: int) -> Record:
        start, stop = opened.starts[index], opened.starts[index + 1]
        line = opened.data[start:stop].partition(b"\n")[0]
        return self._parse_line(strip_line_end(line), where_at(self._path, start), start)


_RUN_STEP = 16
"""Records by which a run grows until it fills a block."""
