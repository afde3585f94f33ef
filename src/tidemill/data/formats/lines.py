"""Reading a text file in runs of whole lines, exact at every record, whatever its lines hold."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from tidemill.data.files import PartFile, TextFile, compare_file, find_codec, open_text, recognize_codec
from tidemill.data.formats.items import Place
from tidemill.data.formats.runs import Run, cut_head, cut_run, error_run, over_limit, strip_line_end, where_at
from tidemill.data.reader import PartReader, hold_failure
from tidemill.data.turns import Share
from tidemill.errors import DataError, StateError
from tidemill.protocols import Growth, State

BOM = b"\xef\xbb\xbf"


class LineReader(PartReader):
    """The records of one text file.

    What is no record raises `DataError` with the raw bytes and their offset, and reading goes on behind it. A
    compressed file that is cut or corrupt gives what stands in front of that point, then one `DataError`, then its
    end.

    Memory: one block of 64 KiB, parsed, or one record.   Resume: exact; a plain file seeks, a compressed one is
    decompressed up to the state.   Threads: any, one at a time.
    """

    _file: PartFile
    _text: TextFile
    _place: Place[Run]

    def state(self, back: int = 0) -> State:
        run = self._place.run
        given = run.given() - back
        offset = run.offset(given)
        state = {"offset": offset, **self._text.state(offset), **self._place.mark(back)}
        if run.failed and given == run.count:
            state["failed"] = True
        return state

    def spot(self) -> Callable[[], State]:
        """The offset alone, measured when it is asked for: that goes through the lines of a block."""
        run = self._place.run
        return partial(_place_in, run, run.given() - 1)

    def close(self) -> None:
        self._file.close()


def _place_in(run: Run, given: int) -> State:
    return {"offset": run.offset(given)}


ReadRuns = Callable[[TextFile, Place[Run]], Iterator[Run]]
"""Gives the runs of a text from where `place` stands; the text was brought there."""


def open_lines(
    path: Path,
    state: State | None,
    read_runs: ReadRuns,
    *,
    compare: Callable[[Path, State], Growth] | None = None,
    share: Share | None = None,
) -> LineReader:
    """A reader of the file at `path` from its start or from `state`, its runs made by `read_runs`.

    Args:
        compare: what tells whether the file is as it was; None takes `compare_lines`.
        share: whose turn its records and failures are; None gives all.

    Raises:
        ResourceError: the file cannot be opened.
        StateError: the file was edited before the place where `state` stands.
    """
    growth = "same" if state is None else (compare or compare_lines)(path, state)
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
    place = Place(Run(offset, offset, b"", [], failed=failed), share)
    runs = read_runs(text, place)
    links = hold_failure(_iter_links(path, file, text, place, runs))
    reader = cast(LineReader, LineReader.from_iterable(links))
    reader._file = file
    reader._text = text
    reader._place = place
    return reader


def compare_lines(path: Path, state: State) -> Growth:
    """Whether the file is unchanged up to `state`; growth that goes on in the last line read makes it `cut`.

    The last line of a compressed file that was cut is none of it: it failed, and a file that is whole now has it as a
    line of its own.
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


def iter_bodies(text: TextFile, start: int, limit: int) -> Iterator[tuple[int, int, bytes]]:
    """`start, end, body` of stretches of whole lines.

    The last may lack its line end. Of a line over `limit` only the head is kept: its `body` is shorter than
    `end - start`. A byte order mark at the start of the text is left out.
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
            yield _without_mark(start, start + len(body), body)
            start, size, pieces = start + len(body), 0, []
            block = block[cut:]
        pieces.append(block)
        size += len(block)
        if size > limit + 1:  # a line of just the limit may still end in "\r\n"
            pieces = [cut_head(b"".join(pieces), limit)]
    if size:
        yield _without_mark(start, start + size, b"".join(pieces))


def _without_mark(start: int, end: int, body: bytes) -> tuple[int, int, bytes]:
    if start == 0 and body.startswith(BOM):
        return len(BOM), end, body[len(BOM) :]
    return start, end, body


class LineParser(Protocol):
    """What a format makes of lines.

    Attributes:
        keeps_blank: whether a blank line is a record.
        needs_end: whether a line without its end may be the head of another line without showing it.
    """

    keeps_blank: bool
    needs_end: bool

    def parse_body(self, body: bytes) -> list[Any] | None:
        """The records of whole lines, one each; None when some line needs a closer look."""
        ...

    def parse_lines(self, lines: Iterable[bytes], body: bytes) -> list[Any] | None:
        """The records of some lines of `body`, one each; None when some line needs a closer look."""
        ...

    def parse_line(self, line: bytes, where: str, offset: int) -> Any:
        """The record of one line.

        Raises:
            DataError: it is none.
        """
        ...


def iter_line_runs(
    path: Path, parser: LineParser, limit: int, text: TextFile, place: Place[Run], *, share: Share | None = None
) -> Iterator[Run]:
    """The runs of a format in which each record is a line; of lines that are not the share's turn none is parsed."""
    reported, told_at = place.run.failed, place.run.end
    for start, end, body in iter_bodies(text, place.run.end, limit):
        ended = body.endswith(b"\n")
        if reported and text.failure and start == told_at and not ended:
            break  # the start of a line, which the error that stands for the end of a cut file was about
        reported = False
        run = None
        is_plain = ended or not text.failure or (not parser.needs_end and share is None)  # another rank's is not parsed
        if end - start <= limit and is_plain:
            run = _parse_body(parser, start, end, body, share)
        if run is not None:
            yield run
        elif end - start > len(body):
            yield error_run(over_limit(path, start, end, body, limit), start, end)
        else:
            yield from _iter_careful(path, parser, limit, start, body, text)


def _parse_body(parser: LineParser, start: int, end: int, body: bytes, share: Share | None) -> Run | None:
    """The run of a body all of whose lines are records, as far as they are parsed; else None."""
    if share is None:
        records = parser.parse_body(body)
        return None if records is None else Run(start, end, body, records)
    lines = io.BytesIO(body).readlines()
    if not parser.keeps_blank and any(map(bytes.isspace, lines)):
        return None
    seen, places = share.seen, share.take(len(lines))
    records = parser.parse_lines([lines[place] for place in places], body)
    if records is None:
        share.seen = seen
        return None
    run = Run(start, end, body, [])
    run.share(records, seen, places, len(lines))
    return run


def _iter_careful(path: Path, parser: LineParser, limit: int, start: int, body: bytes, text: TextFile) -> Iterator[Run]:
    """The runs of `body` line by line: good ones together, each bad line alone, blank lines in none."""
    records: list[Any] = []
    first = offset = start
    for line in io.BytesIO(body):
        after = offset + len(line)
        content = strip_line_end(line)
        is_cut = bool(text.failure) and not line.endswith(b"\n")
        bad: Run | None = None
        if len(content) > limit:
            bad = error_run(over_limit(path, offset, after, content, limit), offset, after)
        elif content.strip() or parser.keeps_blank:
            parsed = _parse_line(path, parser, offset, content)
            if is_cut and (parser.needs_end or isinstance(parsed, DataError)):
                bad = cut_run(path, offset, content, text)
            elif isinstance(parsed, DataError):
                bad = error_run(parsed, offset, after)
            else:
                records.append(parsed)
                offset = after
                continue
        if records:
            yield Run(first, offset, body[first - start : offset - start], records)
            records = []
        first = offset = after
        if bad:
            yield bad
    if records:
        yield Run(first, offset, body[first - start :], records)


def _parse_line(path: Path, parser: LineParser, offset: int, content: bytes) -> Any:
    try:
        return parser.parse_line(content, where_at(path, offset), offset)
    except DataError as error:
        codec = recognize_codec(content) if offset == 0 else None
        if codec is not None and find_codec(path) is None:
            error.hint = f'the file begins as {codec.name} does: compression="{codec.name}" unpacks it'
        return error


def _iter_links(
    path: Path, file: PartFile, text: TextFile, place: Place[Run], runs: Iterator[Run]
) -> Iterator[Iterator[Any]]:
    """Feed a reader: each run as the iterator of its items, `place` set to it first."""
    for run in runs:
        yield place.follow(run)
    if text.failure and not place.run.failed:
        yield place.follow(cut_run(path, place.run.end, b"", text))
    file.close()
