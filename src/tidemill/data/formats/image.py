"""Image files: each is one record, its bytes as they are stored."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tidemill.data.files import TextFile, open_random
from tidemill.data.formats.format import MAX_LINE_BYTES, PLAIN, Options, Rows, Traits
from tidemill.data.formats.items import Place
from tidemill.data.formats.lines import LineReader, open_lines
from tidemill.data.formats.runs import Run, error_run, over_limit, where_at
from tidemill.data.formats.text import compare_whole, iter_whole
from tidemill.errors import DataError
from tidemill.protocols import Growth, Record, State


class Image:
    """Image files, as a `Format`: `{"image": bytes, "path": path}` for each; a `decode_image` step makes pixels of it.

    What the bytes are is not looked at here. A file over the limit is passed over without being held in memory; it and
    an empty one raise `DataError`.

    Resume: a file is one record, so nothing is read again.
    """

    name = "image"
    suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
    compressible = False
    takes = frozenset({"max_line_bytes"})
    traits = Traits(
        title="images",
        record='`{"image": bytes, "path"}` of the file',
        by_number="at once: a file is one record",
        resume="nothing: a file is one record",
        schema="none is asked for: all files have the same",
        packed="images, by their own codecs",
    )

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> LineReader:
        read_whole = functools.partial(_iter_image, path, options)
        return open_lines(path, state, read_whole, compare=compare_whole, share=options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return compare_whole(path, state)

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        return {"image": raw}

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        number = -1
        for number, record in enumerate(records):
            if number:
                raise DataError("expected one record for a file that is one image, got more", hint=_SAVE_HINT)
            data = record.get("image") if isinstance(record, dict) else None
            if not isinstance(data, bytes) or not data or not record.keys() <= {"image", "path"}:
                raise DataError(
                    f"record {number} is no image file: expected its one column to be `image`, bytes", hint=_SAVE_HINT
                )
            file.write(data)
        if number < 0:
            raise DataError("expected one record for a file that is one image, got none")
        return 1

    def read_schema(self, path: Path, options: Options = PLAIN) -> None:
        """None: no file has other columns, so that none need be looked for among thousands."""

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        return ImageRows(path, options)


_READ_BYTES = 1024 * 1024

_SAVE_HINT = "many images go to a tar archive, as the columns `__key__` and `jpg`, say"


class ImageRows:
    """The one record of an image file, as `Rows`; nothing is held open."""

    def __init__(self, path: Path, options: Options = PLAIN) -> None:
        self._path = path
        self._written = options.written or str(path)

    def count_rows(self) -> int:
        return 1

    def columns(self) -> tuple[str, ...]:
        return ("image", "path")

    def read_row(self, index: int) -> Record:
        pieces, size = [], 0
        with open_random(self._path) as file:
            while size <= MAX_LINE_BYTES and (piece := file.read(_READ_BYTES)):
                pieces.append(piece)
                size += len(piece)
        data = b"".join(pieces)
        if size > MAX_LINE_BYTES:
            raise over_limit(self._path, 0, size, data, MAX_LINE_BYTES, of="file")
        if not data:
            raise _empty(self._path)
        return _parse(self._written, data)

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        return [self.read_row(index) for index in indices]

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        return map(self.read_row, range(start, stop))

    def release(self) -> None:
        """Nothing is held open."""


def _iter_image(path: Path, options: Options, text: TextFile, place: Place[Run]) -> Iterator[Run]:
    """The one run of the file; an empty one is an error, which stands for its end."""
    parse = functools.partial(_parse, options.written or str(path))
    is_told = place.run.failed or bool(place.run.end)
    for run in iter_whole(path, parse, options.max_line_bytes, text, place):
        yield run
        is_told = True
    if not is_told and not text.failure:
        yield error_run(_empty(path), 0, 0, failed=True)


def _empty(path: Path) -> DataError:
    return DataError("expected a record, got an empty file", where=where_at(path, 0), offset=0, is_cut=True)


def _parse(written: str, raw: bytes) -> Record:
    return {"image": raw, "path": written}


IMAGE = Image()
