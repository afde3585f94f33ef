"""Records of a plain tar archive by their number."""

from __future__ import annotations

import io
from typing import BinaryIO

from tidemill.data.formats.format import MAX_LINE_BYTES
from tidemill.data.formats.indexed import IndexedFile, IndexedFileRows
from tidemill.data.formats.line_index import Indexing, Write
from tidemill.data.formats.runs import where_at
from tidemill.data.formats.tar.archive import FileArchive, TarEnd
from tidemill.data.formats.tar.groups import iter_groups
from tidemill.data.formats.tar.records import build_record, fail_group
from tidemill.errors import DataError
from tidemill.protocols import Record

_BUFFER_BYTES = 8 * 1024
"""Read at a header while an index is made: those of small members lie closer."""


def _build_records(file: BinaryIO, write: Write) -> None:
    """Write the offset of each record, then where the last one ends; what cannot be read is a record to the end."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    buffered = io.BufferedReader(file, _BUFFER_BYTES)  # type: ignore[type-var]
    offsets, stop = memoryview(bytearray(8 * _WRITTEN)).cast("Q"), 0
    count = 0
    try:
        for group in iter_groups(FileArchive(buffered, size), None):
            offsets[count] = group.start
            count, stop = count + 1, group.end
            if count == _WRITTEN:
                write(offsets.cast("B"))
                count = 0
    except TarEnd as end:
        offsets[count] = end.offset
        count, stop = count + 1, size
    finally:
        buffered.detach()
    write(offsets[:count].cast("B"))
    write(stop.to_bytes(8, "little"))


_WRITTEN = 1024
"""Offsets written at a time."""

RECORDS = Indexing("members", b"TMGROUP2", _build_records)


class TarRows(IndexedFileRows):
    """The records of one plain tar archive; what it cannot be read behind is one record, which fails."""

    indexing = RECORDS

    def _parse(self, opened: IndexedFile, index: int) -> Record:
        start, stop = opened.starts[index], opened.starts[index + 1]
        archive = FileArchive(io.BytesIO(opened.data[start:stop]), stop - start, start)
        is_part = stop < opened.size  # what nothing can be read behind goes to the end, where no end mark stands
        try:
            group = next(iter_groups(archive, MAX_LINE_BYTES, is_part=is_part))
        except TarEnd as end:
            message = f"the archive ends here: {end}"
            raise DataError(message, where=where_at(self._path, end.offset), offset=end.offset, is_cut=True) from None
        if group.problem:
            raise fail_group(self._path, group)
        return build_record(self._path, group)
