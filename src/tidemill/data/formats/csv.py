"""CSV and TSV (RFC 4180): the header names the columns, values are text."""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tidemill.data.files import BLOCK_BYTES, PartFile, TextFile, open_text
from tidemill.data.formats.csv_rows import CsvLayout, Table, find_layout, write_rows
from tidemill.data.formats.format import PLAIN, Options, Rows, Traits, refuse_rows
from tidemill.data.formats.items import Place
from tidemill.data.formats.lines import LineReader, compare_lines, iter_bodies, open_lines
from tidemill.data.formats.runs import Run, cut_run, error_run, over_limit, strip_line_end, where_at
from tidemill.errors import DataError
from tidemill.protocols import Growth, Record, State

if TYPE_CHECKING:
    import pyarrow as pa

_LINE_END_BYTES = 2


class Csv:
    """CSV and TSV, as a `Format`: a dict of text for each row, by the names in the header; blank lines are passed over.

    A row that has too few or too many fields, or breaks the rules of quoting, raises `DataError`; so does a quote that
    is never closed, about the line it is opened on. A header with an empty or repeated name is the one `DataError` of
    its file.
    """

    name = "csv"
    suffixes: tuple[str, ...] = (".csv", ".tsv")
    compressible = True
    takes = frozenset({"max_line_bytes", "encoding", "delimiter"})
    traits = Traits(
        title="CSV, TSV",
        record="the row, a dict of texts",
        by_number="",
        resume="nothing but the header; of a packed file the text before is unpacked",
        schema="names, by the header",
    )

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> LineReader:
        read_runs = functools.partial(_iter_records, path, find_layout(path, options))
        return open_lines(path, state, read_runs, share=options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return compare_lines(path, state)

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        raise DataError(
            "expected a row with its header, got one without",
            hint="mend the row in its file, and read the file anew",
            raw=raw,
        )

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        """Write `records` with the columns of the first; one that lacks some of them has empty fields there."""
        return write_rows(records, file, find_layout(None, options))

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema:
        import pyarrow as pa

        names, _ = _read_header(path, find_layout(path, options))
        return pa.schema([(name, pa.string()) for name in names])

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        refuse_rows(path, "CSV")


def _iter_records(path: Path, layout: CsvLayout, text: TextFile, place: Place[Run]) -> Iterator[Run]:
    """The runs of records behind the header, which is read from the start of the file in any case."""
    failed = place.run.failed
    try:
        names, start = _read_header(path, layout)
    except DataError as error:
        if not failed:
            yield error_run(error, 0, 0, failed=True)
        return
    if place.run.end:
        start = place.run.end
    else:
        text.skip(start)
    yield from _iter_runs(Table(path, layout, names), text, start, place.run.end if failed else -1)


def _read_header(path: Path, layout: CsvLayout) -> tuple[tuple[str, ...], int]:
    """The names of the columns and where the first row begins; no names in an empty file.

    Raises:
        DataError: a name is empty or there twice, or the header cannot be read.
    """
    file = PartFile(path)
    text = open_text(path, file)
    run = next((run for run in _iter_runs(Table(path, layout, None), text, 0, -1) if run.count), None)
    file.close()
    if run is None:
        if text.failure:
            next(cut_run(path, 0, b"", text).link())
        return (), 0
    row = next(run.link())
    names, end = tuple(row), run.offset(1)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if "" in names or repeated:
        wrong = f"the name `{repeated[0]}` twice" if repeated and repeated[0] else "an empty name"
        raw = strip_line_end(run.body[: end - run.start])
        raise DataError(
            f"expected a header with a name of its own for each column, got {wrong}",
            where=where_at(path, run.start),
            hint="mend the first line of the file",
            raw=raw,
            offset=run.start,
        )
    return names, end


def _iter_runs(table: Table, text: TextFile, start: int, told_at: int) -> Iterator[Run]:
    """The runs of a text from `start`, where a row begins.

    A row that is not closed yet is parsed again once twice as much of it is there, up to the limit or the end.

    Args:
        told_at: where the row begins that was told to be cut, with the file; -1 for none.
    """
    path, limit = table.path, table.layout.limit
    feed = _Feed(iter_bodies(text, start, limit))
    while stretch := feed.take():
        start, end, body = stretch
        if end - start > len(body):
            yield error_run(over_limit(path, start, end, body, limit), start, end)
            continue
        is_torn = bool(text.failure) and not body.endswith(b"\n")
        runs, used, is_over = table.split(start, body, is_torn=is_torn)
        yield from runs
        start, body = start + used, body[used:]
        if not body or (not is_over and len(body) <= limit + _LINE_END_BYTES and feed.grow(start, body)):
            continue
        if text.failure and feed.at_end and not is_over:
            if start != told_at:
                yield cut_run(path, start, body, text)
            return
        cut = len(body) if table.width == 1 else (body.find(b"\n") + 1 or len(body))
        yield error_run(table.explain_open(start, body[:cut]), start, start + cut)
        feed.put_back(start + cut, body[cut:])


class _Feed:
    """Stretches of whole lines, of which the last taken can be put back, together with what follows it."""

    def __init__(self, bodies: Iterator[tuple[int, int, bytes]]) -> None:
        self._bodies = bodies
        self._back: deque[tuple[int, int, bytes]] = deque()
        self.at_end = False
        """Whether the text was asked for more and had no more."""

    def take(self) -> tuple[int, int, bytes] | None:
        if self._back:
            return self._back.popleft()
        stretch = next(self._bodies, None)
        self.at_end = stretch is None
        return stretch

    def grow(self, start: int, body: bytes) -> bool:
        """Put `body` back with as much again behind it; False, and nothing is put back, where nothing can follow."""
        pieces, size = [body], len(body)
        while size < 2 * len(body) and (stretch := self.take()):
            if stretch[1] - stretch[0] > len(stretch[2]):  # the head of a line over the limit
                self._back.appendleft(stretch)
                break
            pieces.append(stretch[2])
            size += len(stretch[2])
        if len(pieces) > 1:
            self._back.appendleft((start, start + size, b"".join(pieces)))
        return len(pieces) > 1

    def put_back(self, start: int, body: bytes) -> None:
        """Give `body` next, in stretches of the usual size."""
        at, stretches = 0, []
        while at < len(body):
            stop = body.find(b"\n", at + BLOCK_BYTES) + 1 or len(body)
            stretches.append((start + at, start + stop, body[at:stop]))
            at = stop
        self._back.extendleft(reversed(stretches))


CSV = Csv()
