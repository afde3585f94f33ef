"""Rows of CSV: parsed by the standard library's `csv`, their places found in the bytes."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from threading import Lock
from typing import Any, BinaryIO

from tidemill.data.files import BLOCK_BYTES
from tidemill.data.formats.encoding import decode_text, find_encoding
from tidemill.data.formats.format import COMPRESSED, Options
from tidemill.data.formats.runs import Run, error_run, over_limit, strip_line_end, where_at
from tidemill.errors import ConfigError, DataError

_OPEN_QUOTE = "unexpected end of data"  # what `csv` says, strict, of a quote that is not closed
_FIELD_LIMIT_BYTES = 128 * 1024
_TABS = (".tsv", ".tab")
_WRITABLE = (str, int, float, bool, type(None))

_field_limit_lock = Lock()  # guards `csv.field_size_limit`, one for the process, while it is raised


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """How the text of a file is made of rows."""

    delimiter: str
    encoding: str
    limit: int

    def parse(self, lines: Iterable[str]) -> Any:
        """A `csv.reader`, strict, so that it tells what breaks the rules of quoting."""
        return csv.reader(lines, delimiter=self.delimiter, strict=True)


def find_layout(path: Path | None, options: Options) -> CsvLayout:
    """The layout that options and the suffix of `path` say.

    Raises:
        ConfigError: there is no such encoding, or the delimiter is none.
    """
    delimiter = options.delimiter
    if delimiter is None:
        suffixes = [suffix for suffix in PurePath(str(path or "")).suffixes if suffix not in COMPRESSED]
        delimiter = "\t" if suffixes and suffixes[-1] in _TABS else ","
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise ConfigError(f"expected one character as delimiter, no quote or line end, got {delimiter!r}")
    return CsvLayout(delimiter, find_encoding(options.encoding, by_line=True), options.max_line_bytes)


class Table:
    """The rows of one file.

    Attributes:
        names: of the columns; None while the header is looked for, and any row is taken as the list it is.
    """

    def __init__(self, path: Path, layout: CsvLayout, names: tuple[str, ...] | None) -> None:
        self.path = path
        self.layout = layout
        self._names = names
        self.width = len(names or ())

    def split(self, start: int, body: bytes, *, is_torn: bool) -> tuple[list[Run], int, bool]:
        """The rows of `body`, which stands at `start`.

        Args:
            body: whole lines, a row's at the start.
            is_torn: whether its last line is only the head of one, so that its row is none.

        Returns:
            The runs; how many bytes they take, short of `body` where its last row is not closed; whether that row is
            known to be over the limit.
        """
        with _allow_fields(len(body)):
            if not is_torn and len(body) <= self.layout.limit:
                records = self._parse_whole(body)
                if records is not None:
                    return [_CsvRun(start, body, records, self.layout)], len(body), False
            return self._split_careful(start, body, is_torn)

    def explain_open(self, start: int, line: bytes) -> DataError:
        """What is wrong with a row that begins with `line` and does not end within the limit."""
        limit = self.layout.limit
        if len(strip_line_end(line)) > limit:
            return over_limit(self.path, start, start + len(line), line, limit)
        return DataError(
            f"a quote is opened and not closed within {limit:,} bytes or the end of the file",
            where=where_at(self.path, start),
            hint="raise max_line_bytes if such rows are meant",
            raw=strip_line_end(line),
            offset=start,
        )

    def _parse_whole(self, body: bytes) -> list[Any] | None:
        """The records of `body`, None when some row needs a closer look."""
        try:
            rows = list(filter(None, self.layout.parse(io.StringIO(body.decode(self.layout.encoding), newline="\n"))))
        except (UnicodeDecodeError, csv.Error):
            return None
        if self._names is None:
            return rows
        if not set(map(len, rows)) <= {self.width}:
            return None
        names = self._names
        return [dict(zip(names, row)) for row in rows]  # noqa: B905 - of one length, checked above

    def _split_careful(self, start: int, body: bytes, is_torn: bool) -> tuple[list[Run], int, bool]:
        lines = list(io.BytesIO(body))
        rows = self.layout.parse([line.decode(self.layout.encoding, "surrogateescape") for line in lines])
        runs: list[Run] = []
        good: list[Any] = []
        first = offset = 0  # where the run of good rows and where the row begin
        line = 0
        is_over = False
        while line < len(lines):
            found = _next_row(rows)
            raw = b"".join(lines[line : rows.line_num])
            if found == _OPEN_QUOTE or (is_torn and rows.line_num == len(lines)):
                break
            is_over = len(strip_line_end(raw)) > self.layout.limit
            if is_over:
                break
            item = self._make_item(found, start + offset, raw)
            if isinstance(item, DataError):
                if good:
                    runs.append(_CsvRun(start + first, body[first:offset], good, self.layout))
                    good = []
                runs.append(error_run(item, start + offset, start + offset + len(raw)))
                first = offset + len(raw)
            elif item is not None:
                good.append(item)
            offset += len(raw)
            line = rows.line_num
        if good:
            runs.append(_CsvRun(start + first, body[first:offset], good, self.layout))
        return runs, offset, is_over

    def _make_item(self, found: list[str] | str, offset: int, raw: bytes) -> Any:
        """The record of a row, None for a blank one, or what is wrong with it."""
        content, where = strip_line_end(raw), where_at(self.path, offset)
        try:
            decode_text(content, self.layout.encoding, of="row", where=where, offset=offset)
        except DataError as error:
            return error
        if isinstance(found, str):
            return DataError(f"not CSV: {found}", where=where, raw=content, offset=offset)
        if not found:
            return None
        if self._names is None:
            return found
        if len(found) != self.width:
            message = f"expected {self.width} fields as in the header, got {len(found)}"
            return DataError(message, where=where, raw=content, offset=offset)
        return dict(zip(self._names, found, strict=True))


class _CsvRun(Run):
    """Rows of consecutive lines, with blank lines between them."""

    __slots__ = ("_layout",)

    def __init__(self, start: int, body: bytes, records: list[Any], layout: CsvLayout) -> None:
        super().__init__(start, start + len(body), body, records)
        self._layout = layout

    def measure(self, given: int) -> int:
        if not given:
            return 0
        lines = list(io.BytesIO(self.body))
        with _allow_fields(len(self.body)):
            rows = self._layout.parse(line.decode(self._layout.encoding) for line in lines)
            next(islice(filter(None, rows), given - 1, None))
        return sum(map(len, lines[: rows.line_num]))


def _next_row(rows: Any) -> list[str] | str:
    """The next row, or what `csv` says is wrong with it."""
    try:
        row: list[str] = next(rows)
    except csv.Error as error:
        return str(error)
    return row


def _allow_fields(size_bytes: int) -> AbstractContextManager[None]:
    """Let `csv` take fields of this size.

    Its limit is one for the process; it is raised only while a text over the limit it has at first is parsed.
    """
    return nullcontext() if size_bytes <= _FIELD_LIMIT_BYTES else _raise_field_limit(size_bytes)


@contextmanager
def _raise_field_limit(size_bytes: int) -> Iterator[None]:
    with _field_limit_lock:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, size_bytes))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def write_rows(records: Iterable[Any], file: BinaryIO, layout: CsvLayout) -> int:
    """Write a header and a row for each record; returns the number of records.

    Lines end in CRLF, as RFC 4180 has it: with that, `csv` quotes a field that holds either.

    Raises:
        DataError: a record has columns the first has not, or a value that is not text, a number, a boolean or None.
    """
    names: tuple[str, ...] = ()
    buffer = io.StringIO()
    ends: list[int] = []  # in the buffer, of each record
    writer = csv.writer(buffer, delimiter=layout.delimiter, lineterminator="\r\n")
    number = -1
    for number, record in enumerate(records):
        if number == 0:
            names = _find_names(record)
            writer.writerow(names)
        _check_record(record, names, number)
        writer.writerow([record.get(name) for name in names])
        ends.append(buffer.tell())
        if ends[-1] > BLOCK_BYTES:
            file.write(_encode_rows(buffer.getvalue(), layout, number + 1 - len(ends), ends))
            buffer.seek(0)
            buffer.truncate()
            ends = []
    file.write(_encode_rows(buffer.getvalue(), layout, number + 1 - len(ends), ends))
    return number + 1


def _encode_rows(text: str, layout: CsvLayout, first: int, ends: list[int]) -> bytes:
    try:
        return text.encode(layout.encoding)
    except UnicodeEncodeError as error:
        number = first + bisect_right(ends, error.start)
        character = f"U+{ord(text[error.start]):04X}"
        raise DataError(f"record {number} holds {character}, which {layout.encoding} has no form for") from error


def _find_names(record: Any) -> tuple[str, ...]:
    names = tuple(record) if isinstance(record, dict) else ()
    if not names or "" in names or not all(isinstance(name, str) for name in names):
        raise DataError("record 0 has no header: expected a dict with named columns", hint="CSV needs a name for each")
    return names


def _check_record(record: Any, names: tuple[str, ...], number: int) -> None:
    if not isinstance(record, dict):
        raise DataError(f"record {number} has no columns: expected a dict, got a {type(record).__name__}")
    if not record.keys() <= set(names):
        extra = ", ".join(f"`{name}`" for name in record if name not in names)
        raise DataError(
            f"record {number} has columns that the first has not: {extra}", hint="give them to the first as None"
        )
    for name, value in record.items():
        if not isinstance(value, _WRITABLE):
            raise DataError(
                f"record {number} has a {type(value).__name__} as `{name}`, for which CSV has no form",
                hint="map it to text, or write JSON Lines or Parquet",
            )
