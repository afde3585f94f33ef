"""JSON Lines: one object a line."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tidemill.data.files import BLOCK_BYTES, AnyPath
from tidemill.data.formats.encoding import explain_encoding
from tidemill.data.formats.format import MAX_LINE_BYTES, PLAIN, Options, Rows, Traits, check_plain
from tidemill.data.formats.json_lines import parse_all, parse_json
from tidemill.data.formats.json_texts import render_line
from tidemill.data.formats.jsonl_rows import JsonlRows
from tidemill.data.formats.lines import LineReader, compare_lines, iter_line_runs, open_lines
from tidemill.data.formats.saving import save_records
from tidemill.disk import Disk
from tidemill.errors import DataError
from tidemill.protocols import Growth, Record, State

_ONLY_DICTS = {dict}
_KINDS: dict[type, str] = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a boolean"}


class Jsonl:
    """JSON Lines, as a `Format`.

    A line that is not one JSON object raises `DataError`, and reading goes on behind it; blank lines are passed over.
    """

    name = "jsonl"
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")
    compressible = True
    takes = frozenset({"max_line_bytes"})
    traits = Traits(
        title="JSON Lines",
        record="the object of a line",
        by_number="an index of 8 bytes a record, made once; not of packed files",
        resume="nothing; of a packed file the text before is unpacked",
        schema="none: each line has its own columns",
    )

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> LineReader:
        read_runs = functools.partial(iter_line_runs, path, _PARSER, options.max_line_bytes, share=options.share)
        return open_lines(path, state, read_runs, share=options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return compare_lines(path, state)

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        return parse_line(raw)

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        lines: list[bytes] = []
        pending = 0
        number = -1
        for number, record in enumerate(records):
            line = _render_line(record, number)
            lines.append(line)
            pending += len(line)
            if pending > BLOCK_BYTES:
                file.write(b"".join(lines))
                lines, pending = [], 0
        file.write(b"".join(lines))
        return number + 1

    def read_schema(self, path: Path, options: Options = PLAIN) -> None:
        """None: each line has keys of its own."""

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        check_plain(path)
        return JsonlRows(path, parse_line)


def open_jsonl(path: Path, state: State | None = None, *, max_line_bytes: int = MAX_LINE_BYTES) -> LineReader:
    """A reader of the file at `path`, from its start or from `state`.

    Raises:
        ResourceError: the file cannot be opened.
        StateError: the file was edited before the place where `state` stands.
    """
    return JSONL.open(path, state, Options(max_line_bytes=max_line_bytes))


def save_jsonl(records: Iterable[Any], path: AnyPath, *, disk: Disk | None = None) -> int:
    """Write `records` to one file, packed as its suffix says, and return how many: `save_records`, for JSON Lines.

    Raises:
        DataError: a record is not JSON; names its number, counted from 0.
    """
    return save_records(records, path, JSONL, disk=disk)


def parse_line(line: bytes, where: str = "", offset: int | None = None) -> Record:
    """The record on one line.

    Raises:
        DataError: the line is not one JSON object.
    """
    try:
        record = parse_json(line)
    except orjson.JSONDecodeError as error:
        message = _explain(line, error)
    except ValueError as error:
        message = f"cannot be read exactly: {error}"
    else:
        if type(record) is dict:
            return record
        message = f"expected a JSON object, got {_KINDS.get(type(record), 'null')}"
    raise DataError(message, where=where, raw=line, offset=offset)


class _Parser:
    keeps_blank = False
    needs_end = False

    parse_line = staticmethod(parse_line)

    def parse_body(self, body: bytes) -> list[Any] | None:
        return self.parse_lines(io.BytesIO(body), body)

    def parse_lines(self, lines: Iterable[bytes], body: bytes) -> list[Any] | None:
        records = parse_all(lines, body)
        return records if records is not None and set(map(type, records)) <= _ONLY_DICTS else None


def _render_line(record: Any, number: int) -> bytes:
    try:
        return render_line(record)
    except (TypeError, ValueError) as error:
        raise DataError(f"record {number} is not JSON: {error}") from error


def _explain(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return explain_encoding(wrong, "line")
    return f"not JSON at column {error.colno}: {error.msg}"


JSONL = Jsonl()
_PARSER = _Parser()
