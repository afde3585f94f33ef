"""Runs: what a reader of text gives at a time, records or one error, and where each stands."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any

from tidemill.data.files import TextFile
from tidemill.data.reader import raise_each
from tidemill.data.turns import Share
from tidemill.errors import DataError

RAW_KEPT_BYTES = 64 * 1024
"""How much of a line over the limit its error carries."""


class Run:
    """Records of consecutive lines with nothing between them, or one error: what the reader is giving now."""

    __slots__ = ("_items", "_places", "_total", "body", "count", "end", "failed", "is_error", "seen", "start")

    def __init__(
        self, start: int, end: int, body: bytes, items: list[Any], *, is_error: bool = False, failed: bool = False
    ) -> None:
        self.start = start
        self.end = end
        self.body = body
        self.count = len(items)
        self.is_error = is_error
        self.failed = failed
        """True for an error that stands for the end of the file: the rest cannot be read."""
        self.seen = 0
        """Of a share, the number of the first item among all of the source."""
        self._items = iter(items)
        self._places: Sequence[int] | None = None
        self._total = self.count

    def choose(self, share: Share) -> None:
        """Keep the items that are the share's turn; none may have been given."""
        items = list(self._items)
        seen, places = share.seen, share.take(len(items))
        self.share([items[place] for place in places], seen, places, len(items))

    def share(self, items: list[Any], seen: int, places: Sequence[int], total: int) -> None:
        """Let the run give `items`, which stand at `places` among `total`, the first of which is numbered `seen`."""
        self._items = iter(items)
        self.count = len(items)
        self.seen, self._places, self._total = seen, places, total

    @property
    def is_shared(self) -> bool:
        """Whether its items were chosen."""
        return self._places is not None

    def before(self, given: int) -> int:
        """How many items of its body stand before what comes behind `given` of those it gives."""
        if self._places is None:
            return given
        if given >= self.count:
            return self._total
        return self._places[given - 1] + 1 if given else 0

    def link(self) -> Iterator[Any]:
        """What the reader's chain goes through."""
        return raise_each(self._items) if self.is_error else self._items

    def given(self) -> int:
        return self.count - length_hint(self._items)

    def offset(self, given: int) -> int:
        """Where the text goes on after `given` of the items."""
        return self.end if given >= self.count else self.start + self.measure(self.before(given))

    def measure(self, given: int) -> int:
        """How many bytes of `body` the first `given` items take."""
        return sum(map(len, islice(io.BytesIO(self.body), given)))


class Place:
    """Where a reader stands, shared with the generator that feeds it."""

    __slots__ = ("run",)

    def __init__(self, offset: int, *, failed: bool) -> None:
        self.run = Run(offset, offset, b"", [], failed=failed)


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
