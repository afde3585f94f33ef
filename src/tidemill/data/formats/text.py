"""Plain text: each line a record, or the whole file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tidemill.data.files import BLOCK_BYTES, TextFile, compare_file
from tidemill.data.formats.encoding import decode_text, find_encoding
from tidemill.data.formats.format import PLAIN, Options, Rows, Traits, refuse_rows
from tidemill.data.formats.items import Place
from tidemill.data.formats.lines import BOM, LineReader, compare_lines, iter_line_runs, open_lines
from tidemill.data.formats.runs import RAW_KEPT_BYTES, Run, cut_run, error_run, over_limit, where_at
from tidemill.errors import DataError
from tidemill.protocols import Growth, Record, State

if TYPE_CHECKING:
    import pyarrow as pa


class Text:
    """Plain text, as a `Format`: `{"text": line}` for each line, blank ones too, or the file as `{"text", "path"}`.

    Lines end in LF or CRLF, which is no part of them. A line, or file, that is not in the encoding raises
    `DataError`.
    """

    name = "text"
    suffixes: tuple[str, ...] = (".txt", ".text", ".md")
    compressible = True
    takes = frozenset({"max_line_bytes", "encoding", "whole"})
    traits = Traits(
        title="text",
        record='`{"text": line}`, or of a whole file `{"text", "path"}`',
        by_number="",
        resume="nothing; of a packed file the text before is unpacked",
        schema="`text`, and `path` of a whole file",
    )

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> LineReader:
        encoding = find_encoding(options.encoding, by_line=not options.whole)
        limit = options.max_line_bytes
        if options.whole:

            def parse(raw: bytes) -> Record:
                return {
                    "text": decode_text(raw.removeprefix(BOM), encoding, of="file"),
                    "path": options.written or str(path),
                }

            read_whole = functools.partial(iter_whole, path, parse, limit)
            return open_lines(path, state, read_whole, compare=compare_whole, share=options.share)
        read_runs = functools.partial(iter_line_runs, path, _Parser(encoding), limit, share=options.share)
        return open_lines(path, state, read_runs, share=options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return compare_whole(path, state) if options.whole else compare_lines(path, state)

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        return {"text": decode_text(raw, options.encoding, of="text")}

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        encoding = find_encoding(options.encoding, by_line=not options.whole)
        if options.whole:
            return _save_whole(records, file, encoding)
        lines: list[bytes] = []
        pending = 0
        number = -1
        for number, record in enumerate(records):
            text = _text_of(record, number)
            if "\n" in text or text.endswith("\r"):
                raise DataError(
                    f"record {number} is not one line: it has a line end inside",
                    hint="write JSON Lines or Parquet, which hold any text",
                )
            lines.append(_encode(text + "\n", encoding, number))
            pending += len(lines[-1])
            if pending > BLOCK_BYTES:
                file.write(b"".join(lines))
                lines, pending = [], 0
        file.write(b"".join(lines))
        return number + 1

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema:
        import pyarrow as pa

        names = ("text", "path") if options.whole else ("text",)
        return pa.schema([(name, pa.string()) for name in names])

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        refuse_rows(path, "plain text")


class _Parser:
    keeps_blank = True
    needs_end = True

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def parse_body(self, body: bytes) -> list[Any] | None:
        try:
            text = body.decode(self._encoding)
        except UnicodeDecodeError:
            return None
        lines = text.removesuffix("\n").split("\n") if body else []
        if len(lines) != body.count(b"\n") + (not body.endswith(b"\n") and body != b""):
            return None  # an encoding such as UTF-7 has other ways to write a line end
        if "\r" in text:
            return [{"text": line.removesuffix("\r")} for line in lines]
        return [{"text": line} for line in lines]

    def parse_lines(self, lines: Iterable[bytes], body: bytes) -> list[Any] | None:
        return self.parse_body(b"".join(lines))

    def parse_line(self, line: bytes, where: str, offset: int) -> Record:
        return {"text": decode_text(line, self._encoding, of="line", where=where, offset=offset)}


def compare_whole(path: Path, state: State) -> Growth:
    """A file that is one record and has more in it now has another record in it; an empty one had none."""
    growth = compare_file(path, state)
    return "edited" if growth == "grown" and state["offset"] else growth


def iter_whole(
    path: Path, parse: Callable[[bytes], Record], limit: int, text: TextFile, place: Place[Run]
) -> Iterator[Run]:
    """The one run of a file that is one record, or one error; none of an empty file."""
    if place.run.end:
        return
    pieces: list[bytes] = []
    size = 0
    while block := text.read():
        size += len(block)
        if size <= limit:
            pieces.append(block)
        else:
            pieces = [b"".join([*pieces, block])[:RAW_KEPT_BYTES]]
    raw = b"".join(pieces)
    if text.failure:
        if not place.run.failed:
            yield cut_run(path, 0, raw, text)
    elif size > limit:
        yield error_run(over_limit(path, 0, size, raw, limit, of="file"), 0, size)
    elif size:
        try:
            record = parse(raw)
        except DataError as error:
            error.where, error.offset = where_at(path, 0), 0
            yield error_run(error, 0, size)
        else:
            yield Run(0, size, b"", [record])


def _save_whole(records: Iterable[Any], file: BinaryIO, encoding: str) -> int:
    number = -1
    for number, record in enumerate(records):
        if number:
            raise DataError("expected one record for a file that is one record, got more", hint="write each to its own")
        file.write(_encode(_text_of(record, number), encoding, number))
    return number + 1


def _text_of(record: Any, number: int) -> str:
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str) or not record.keys() <= {"text", "path"}:
        raise DataError(
            f"record {number} is not plain text: expected its one column to be `text`, a string",
            hint="select and rename columns first, or write JSON Lines or Parquet",
        )
    return text


def _encode(text: str, encoding: str, number: int) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise DataError(f"record {number} cannot be written in {encoding}: {error}") from error


TEXT = Text()
