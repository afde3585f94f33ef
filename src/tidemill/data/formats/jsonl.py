"""JSON Lines, plain and gzip: reading with exact state, random access, writing."""

from __future__ import annotations

import gzip
import io
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from tidemill.data.files import BLOCK_BYTES, PartFile, TextFile, compare_file, open_text
from tidemill.data.reader import PartReader, raise_each
from tidemill.disk import Disk
from tidemill.errors import DataError, ResourceError, StateError
from tidemill.protocols import Growth, Record, State

MAX_LINE_BYTES = 64 * 1024 * 1024
RAW_KEPT_BYTES = 64 * 1024
"""How much of a line over the limit its error carries."""

_BOM = b"\xef\xbb\xbf"
_ONLY_DICTS = {dict}
_KINDS: dict[type, str] = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean"}


class _Run:
    """Records of consecutive lines with nothing between them, or one error: what the reader is giving now."""

    __slots__ = ("ahead", "body", "count", "end", "failed", "start")

    def __init__(self, start: int, end: int, body: bytes, items: list[Any], *, failed: bool = False) -> None:
        self.start = start
        self.end = end
        self.body = body
        self.count = len(items)
        self.ahead = iter(items)
        self.failed = failed
        """True for the error that stands for the end of a cut file."""

    def given(self) -> int:
        return self.count - length_hint(self.ahead)

    def offset(self, given: int) -> int:
        """Where the text goes on after `given` of the items."""
        if given >= self.count:
            return self.end
        return self.start + sum(map(len, islice(io.BytesIO(self.body), given)))


class _Place:
    """Where a reader stands, shared with the generator that feeds it."""

    __slots__ = ("run",)

    def __init__(self, offset: int, *, failed: bool) -> None:
        self.run = _Run(offset, offset, b"", [], failed=failed)


class JsonlReader(PartReader):
    """The records of one JSON Lines file.

    A line that is not one JSON object raises `DataError` with the raw bytes and their offset, and reading goes on
    behind it; blank lines are passed over. A gzip file that is cut or corrupt gives what stands in front of that
    point, then one `DataError`, then its end.

    Memory: one block of 64 KiB, parsed, or one line.   Resume: exact; a plain file seeks, a gzip file is
    decompressed up to the state.   Threads: any, one at a time.
    """

    _file: PartFile
    _text: TextFile
    _place: _Place

    def state(self, back: int = 0) -> State:
        run = self._place.run
        given = run.given() - back
        offset = run.offset(given)
        state = {"offset": offset, **self._text.state(offset)}
        if run.failed and given == run.count:
            state["failed"] = True
        return state

    def close(self) -> None:
        self._file.close()


def open_jsonl(path: Path, state: State | None = None, *, max_line_bytes: int = MAX_LINE_BYTES) -> JsonlReader:
    """A reader of the file at `path`, from its start or from `state`.

    Raises:
        ResourceError: the file cannot be opened.
        StateError: the file was edited before the place where `state` stands.
    """
    growth = "same" if state is None else compare_jsonl(path, state)
    if state is not None and growth in ("cut", "edited"):
        what = "edited before" if growth == "edited" else "cut in the middle of the line that ended at"
        raise StateError(
            f"the file was {what} byte {state['offset']}, where the state stands",
            where=str(path),
            hint="put the file back as it was, or start without a state",
        )
    file = PartFile(path, state)
    text = open_text(path, file)
    offset, failed = (state["offset"], state.get("failed", False)) if state else (0, False)
    if offset:
        text.skip(offset)
    place = _Place(offset, failed=failed)
    reader = cast(JsonlReader, JsonlReader.from_iterable(_iter_runs(path, file, text, place, max_line_bytes)))
    reader._file = file
    reader._text = text
    reader._place = place
    return reader


def compare_jsonl(path: Path, state: State) -> Growth:
    """Whether the file is unchanged up to `state`; growth that goes on in the last line read makes it `cut`.

    The last line of a gzip file that was cut is none of it: it failed, and a file that is whole now has it as a line
    of its own.
    """
    growth = compare_file(path, state)
    if growth != "grown" or not state["offset"]:
        return growth
    file = PartFile(path)
    text = open_text(path, file)
    text.skip(state["offset"] - 1)
    around = text.read()
    if len(around) < 3:
        around += text.read()
    file.close()
    line_ended = around[:1] == b"\n" or around[1:2] in (b"", b"\n") or around[1:3] == b"\r\n"
    return "grown" if line_ended else "cut"


def parse_line(line: bytes, *, where: str = "", offset: int | None = None) -> Record:
    """The record on one line.

    Raises:
        DataError: the line is not one JSON object.
    """
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        message = _explain(line, error)
    else:
        if type(record) is dict:
            return record
        message = f"expected a JSON object, got {_KINDS.get(type(record), 'null')}"
    raise DataError(message, where=where, raw=line, offset=offset)


def save_jsonl(records: Iterable[Any], path: Path, *, disk: Disk | None = None) -> int:
    """Write `records` to one file, gzip when `path` ends in `.gz`, and return how many.

    The file is there whole or not at all, and the same records give the same bytes.

    Raises:
        DataError: a record is not JSON; names its number, counted from 0.
    """
    disk = disk or Disk()
    disk.make_folder(path.parent)
    with disk.create_file(path) as file:
        count = _write_gzip(records, file) if path.suffix == ".gz" else _write_lines(records, file)
    disk.sync_folder(path.parent)
    return count


class JsonlPart:
    """The rows of one plain JSON Lines file, found by an index of where its lines begin.

    The index, 8 bytes a row, is built in one pass on first use; blank lines are no rows. Each read opens the file
    anew, so threads and forked processes may share one.

    Raises:
        ResourceError: the file cannot be read.
        DataError: a row is not one JSON object; told when that row is read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts: array[int] | None = None  # of each row, then where the last row ends

    def count_rows(self) -> int:
        """The number of rows."""
        return len(self._index()) - 1

    def columns(self) -> tuple[str, ...]:
        """The names in the first row."""
        return tuple(self.read_row(0)) if self.count_rows() else ()

    def read_row(self, index: int) -> Record:
        """One row."""
        for row in self.iter_rows(index, index + 1):
            return row
        raise StateError(f"row {index} is gone: the file changed", where=str(self._path), hint="open the dataset anew")

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        """The rows `start` to `stop`."""
        starts = self._index()
        offset, end = starts[start], starts[stop]
        with _open_binary(self._path) as file:
            file.seek(offset)
            while offset < end and (line := file.readline()):
                if not line.isspace():
                    yield parse_line(line.rstrip(b"\r\n"), where=_where(self._path, offset), offset=offset)
                offset += len(line)

    def release(self) -> None:
        """Nothing is held open; the index stays."""

    def _index(self) -> array[int]:
        if self._starts is None:
            with _open_binary(self._path) as file:
                self._starts = _index_lines(file)
        return self._starts


def _open_binary(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", buffering=BLOCK_BYTES)
    except OSError as error:
        raise ResourceError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def _index_lines(file: BinaryIO) -> array[int]:
    starts = array("Q")
    offset = end = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    file.seek(offset)
    for line in file:
        if not line.isspace():
            starts.append(offset)
            end = offset + len(line)
        offset += len(line)
    starts.append(end)
    return starts


def _iter_runs(path: Path, file: PartFile, text: TextFile, place: _Place, limit: int) -> Iterator[Iterator[Any]]:
    """Feed a reader: each run as the iterator of its items, `place` set to it first."""
    reported, told_at = place.run.failed, place.run.end
    for start, end, body in _iter_bodies(text, place.run.end, limit):
        if reported and text.failure and start == told_at and not body.endswith(b"\n"):
            break  # the start of a line, which the error that stands for the end of a cut file was about
        reported = False
        if start == 0 and body.startswith(_BOM):
            start, body = len(_BOM), body[len(_BOM) :]
        whole = _parse_body(start, end, body, limit)
        for run in (whole,) if whole else _iter_careful(path, start, end, body, limit, text):
            place.run = run
            reported = run.failed
            yield run.ahead if run.body else raise_each(run.ahead)
    if text.failure and not reported:
        end = place.run.end
        cut = DataError(text.failure, where=_where(path, end), raw=b"", offset=end, is_cut=True)
        place.run = _error_run(cut, end, end, True)
        yield raise_each(place.run.ahead)
    file.close()


def _iter_bodies(text: TextFile, start: int, limit: int) -> Iterator[tuple[int, int, bytes]]:
    """`start, end, body` of stretches of whole lines.

    The last may lack its line end. Of a line over `limit` only the head is kept: its `body` is shorter than
    `end - start`.
    """
    pieces: list[bytes] = []  # of the line not yet ended; just its head once it is over the limit
    size = 0  # of that line so far
    while block := text.read():
        if size > limit + 1:
            cut = block.find(b"\n") + 1
            size += cut or len(block)
            if not cut:
                continue
            yield start, start + size, pieces[0]
            start, size, pieces = start + size, 0, []
            block = block[cut:]
        cut = block.rfind(b"\n") + 1
        if cut:
            pieces.append(block[:cut])
            body = b"".join(pieces)
            yield start, start + len(body), body
            start, size, pieces = start + len(body), 0, []
            block = block[cut:]
        pieces.append(block)
        size += len(block)
        if size > limit + 1:  # a line of just the limit may still end in "\r\n"
            pieces = [_head(b"".join(pieces), limit)]
    if size:
        yield start, start + size, b"".join(pieces)


def _parse_body(start: int, end: int, body: bytes, limit: int) -> _Run | None:
    """All records of `body` as one run, None when some line needs a closer look."""
    if end - start > limit:
        return None
    try:
        records = list(map(orjson.loads, io.BytesIO(body)))
    except orjson.JSONDecodeError:
        return None
    return _Run(start, end, body, records) if set(map(type, records)) == _ONLY_DICTS else None


def _iter_careful(path: Path, start: int, end: int, body: bytes, limit: int, text: TextFile) -> Iterator[_Run]:
    """The runs of `body` line by line: good ones together, each bad line alone, blank lines in none."""
    if end - start > len(body):
        yield _error_run(_over_limit(path, start, end, body, limit), start, end)
        return
    records: list[Record] = []
    first = offset = start
    for line in io.BytesIO(body):
        after = offset + len(line)
        content = line.removesuffix(b"\n").removesuffix(b"\r")
        error: DataError | None = None
        failed = False
        if len(content) > limit:
            error = _over_limit(path, offset, after, content, limit)
        elif content.strip():
            try:
                records.append(parse_line(content, where=_where(path, offset), offset=offset))
            except DataError as wrong:
                error = wrong
                failed = bool(text.failure) and not line.endswith(b"\n")
                if failed:
                    error = DataError(text.failure, where=wrong.where, raw=content, offset=offset, is_cut=True)
                    after = offset  # where the line is found once the file is whole
        if error or not content.strip():
            if records:
                yield _Run(first, offset, body[first - start : offset - start], records)
                records = []
            first = after
        if error:
            yield _error_run(error, offset, after, failed)
        offset = after
    if records:
        yield _Run(first, offset, body[first - start :], records)


def _error_run(error: DataError, start: int, end: int, failed: bool = False) -> _Run:
    return _Run(start, end, b"", [error], failed=failed)


def _over_limit(path: Path, start: int, end: int, line: bytes, limit: int) -> DataError:
    return DataError(
        f"expected at most {limit:,} bytes in a line, got {end - start:,}",
        where=_where(path, start),
        hint="raise max_line_bytes if such lines are meant",
        raw=_head(line, limit),
        offset=start,
        is_cut=True,
    )


def _head(line: bytes, limit: int) -> bytes:
    return line[: min(limit, RAW_KEPT_BYTES)]


def _explain(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return f"invalid UTF-8: {wrong.reason} at byte {wrong.start} of the line"
    return f"not JSON at column {error.colno}: {error.msg}"


def _where(path: Path, offset: int) -> str:
    return f"{path}, byte {offset}"


def _write_gzip(records: Iterable[Any], file: BinaryIO) -> int:
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        return _write_lines(records, packed)


def _write_lines(records: Iterable[Any], file: Any) -> int:
    lines: list[bytes] = []
    pending = 0
    number = -1
    for number, record in enumerate(records):
        try:
            line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError as error:
            raise DataError(f"record {number} is not JSON: {error}") from error
        lines.append(line)
        pending += len(line)
        if pending > BLOCK_BYTES:
            file.write(b"".join(lines))
            lines, pending = [], 0
    file.write(b"".join(lines))
    return number + 1
