"""Reading quarantined records again: each row as the record that failed, or as what it failed with."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from sys import maxsize
from typing import Any

from tidemill.data.failing.policy import SOURCE
from tidemill.data.files import PartFile
from tidemill.data.formats.jsonl import parse_line
from tidemill.data.formats.lines import LineReader, iter_line_runs, open_lines
from tidemill.data.records.exact import from_exact_json
from tidemill.errors import DataError
from tidemill.protocols import State


@dataclass(frozen=True, slots=True)
class Row:
    """One failure as it stands in quarantine.

    Attributes:
        step: the name of the step that the record failed at; `source` for where it was read.
        where: where the record stood, empty when that is unknown.
        type: of the error.
        message: of the error.
        record: the record as it came to the step; of one that the file does not keep, what it was shown as.
        raw: the source's bytes, where no record could be made of them.
        is_whole: whether that is all there was, and as it was, so that it can be tried again.
        identity: of a job's row, part, ordinal, path and outcome.
    """

    step: str
    where: str
    type: str
    message: str
    record: Any = None
    raw: bytes | None = None
    is_whole: bool = True
    identity: tuple[tuple[str, Any], ...] = ()

    def to_record(self) -> dict[str, Any]:
        """The row as a record of a stream."""
        names = ("step", "where", "type", "message", "record", "raw", "is_whole")
        return {**{name: getattr(self, name) for name in names}, **dict(self.identity)}


ParseRow = Callable[[dict[str, Any]], Row]
"""Makes a row of the JSON object it is written as; raises LookupError, TypeError or ValueError of any other."""


def parse_row(row: dict[str, Any]) -> Row:
    """A row of a quarantine file."""
    raw = row.get("raw")
    return Row(
        row["step"],
        row.get("where", ""),
        row["type"],
        row["message"],
        row["shown"] if "shown" in row else from_exact_json(row.get("record")),
        None if raw is None else base64.b64decode(raw),
        "record" in row or (raw is not None and not row["is_cut"]),
    )


def open_replay(
    path: Path, state: State | None, parse: ParseRow, *, first: int = 0, shows_errors: bool = False
) -> LineReader:
    """The records in a file of quarantine, behind the `first` rows of it, from their start or from `state`.

    A row whose record cannot be given raises `DataError`, as does a line that is no row.

    Args:
        shows_errors: each row is a record of its own, with what it failed with.

    Raises:
        ResourceError: the file cannot be opened.
        StateError: it was edited before `state`.
    """
    if state is None and first:
        state = _pass_over(path, first)
    parser = _Parser(path, parse, shows_errors)
    return open_lines(path, state, partial(iter_line_runs, path, parser, maxsize))


def _pass_over(path: Path, count: int) -> State:
    """The state behind the first rows of a file."""
    file = PartFile(path)
    try:
        with open(path, "rb") as lines:
            offset = sum(map(len, islice(lines, count)))
        return {"offset": offset, **file.state(offset)}
    finally:
        file.close()


class _Parser:
    """What `iter_line_runs` makes records of rows with."""

    keeps_blank = False
    needs_end = False

    def __init__(self, path: Path, parse: ParseRow, shows_errors: bool) -> None:
        self._path = path
        self._parse = parse
        self._give = Row.to_record if shows_errors else give_record

    def parse_body(self, body: bytes) -> list[Any] | None:
        return self.parse_lines(io.BytesIO(body), body)

    def parse_lines(self, lines: Iterable[bytes], body: bytes) -> list[Any] | None:
        try:
            return [self._give(self._parse(parse_line(line))) for line in lines]
        except (DataError, LookupError, TypeError, ValueError):
            return None  # told line by line

    def parse_line(self, line: bytes, where: str, offset: int) -> Any:
        try:
            row = self._parse(parse_line(line, where, offset))
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"expected a row of a quarantine, got another object: {type(error).__name__}: {error}",
                where=where,
                hint="replay takes a file that catch(to=…) wrote, or a job's run",
                raw=line,
                offset=offset,
            ) from error
        return self._give(row)


def give_record(row: Row) -> Any:
    """The record that failed.

    Raises:
        DataError: there is none: the source could not make one of its bytes, or the quarantine does not keep it.
    """
    if row.raw is None and row.is_whole:
        return row.record
    message = row.message.removeprefix(f"{row.where}: ")
    if row.raw is None and row.record is not None:
        message = f"it failed at `{row.step}`: {row.type}: {message}"
        message = f"the record cannot be replayed, as the quarantine does not keep its values; {message}"
    error = DataError(message, where=row.where, raw=row.raw, is_cut=row.raw is not None and not row.is_whole)
    error.step = SOURCE
    raise error
