"""Runs: what a reader of text gives at a time, records or one error, and where each stands."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from typing import Any

from tidemill.data.files import TextFile
from tidemill.data.formats.items import Items
from tidemill.errors import DataError

RAW_KEPT_BYTES = 64 * 1024
"""How much of a line over the limit its error carries."""


class Run(Items):
    """Records of consecutive lines with nothing between them, or one error: what the reader is giving now.

    Attributes:
        failed: True for an error that stands for the end of the file: the rest cannot be read.
    """

    __slots__ = ("body", "end", "failed", "start")

    def __init__(
        self, start: int, end: int, body: bytes, items: list[Any], *, is_error: bool = False, failed: bool = False
    ) -> None:
        super().__init__(items, is_error=is_error)
        self.start = start
        self.end = end
        self.body = body
        self.failed = failed

    def offset(self, given: int) -> int:
        """Where the text goes on after `given` of the items."""
        return self.end if given >= self.count else self.start + self.measure(self.before(given))

    def measure(self, given: int) -> int:
        """How many bytes of `body` the first `given` items take."""
        return sum(map(len, islice(io.BytesIO(self.body), given)))


def error_run(error: DataError, start: int, end: int, *, failed: bool = False) -> Run:
    """The run that raises `error`, about the text from `start` to `end`."""
    return Run(start, end, b"", [error], is_error=True, failed=failed)


def cut_run(path: Path, offset: int, raw: bytes, text: TextFile) -> Run:
    """The run that raises that the text ends in failure, inside `raw`, which is read at `offset` once it is whole."""
    where = where_at(path, offset)
    error = DataError(text.failure, where=where, raw=raw[:RAW_KEPT_BYTES], offset=offset, is_cut=True)
    return error_run(error, offset, offset, failed=True)


def over_limit(path: Path, start: int, end: int, line: bytes, limit: int, *, of: str = "line") -> DataError:
    """That a line, or the file, is longer than `limit`."""
    return DataError(
        f"expected at most {limit:,} bytes in a {of}, got {end - start:,}",
        where=where_at(path, start),
        hint=f"raise max_line_bytes if such {of}s are meant",
        raw=cut_head(line, limit),
        offset=start,
        is_cut=True,
    )


def strip_line_end(line: bytes) -> bytes:
    """The line without its end, LF or CRLF."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def where_at(path: Path, offset: int) -> str:
    """A place in a file, for an error."""
    return f"{path}, byte {offset}"


def cut_head(line: bytes, limit: int) -> bytes:
    """What the error of a line over the limit carries of it."""
    return line[: min(limit, RAW_KEPT_BYTES)]
