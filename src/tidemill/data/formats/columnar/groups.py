"""Reading a file of groups of rows in columns, exact at every row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from tidemill.data.formats.items import Items, Place
from tidemill.data.reader import PartReader, hold_failure
from tidemill.data.turns import Share
from tidemill.errors import DataError, ResourceError
from tidemill.protocols import Record, State

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 256
"""Taken out of their columns at a time; of 128 to 1,024 the quickest for Parquet, by 3 %."""


class Groups(Protocol):
    """A file's groups of rows: the row groups of Parquet, the record batches of Arrow.

    Attributes:
        word: what a group is called, for errors.
        names: of the columns.
    """

    word: str
    names: list[str]

    def iter_batches(self, number: int) -> Iterator[pa.RecordBatch]:
        """One group in batches, the same ones each time; raises IndexError behind the last group.

        Errors of any other kind are the group's.
        """
        ...

    def count_rows(self, number: int) -> int | None:
        """The rows of one group, None when it does not say."""
        ...


class OpenGroups(Groups, Protocol):
    """Groups that a reader goes through in order."""

    def state(self, number: int, row: int) -> State:
        """What the state of a reader has besides its place: what tells the file from another, and `read`, in bytes."""
        ...

    def close(self) -> None:
        """Close the file; it may be closed already."""
        ...


class _Run(Items):
    """Rows of one group, or one error."""

    __slots__ = ("after", "group", "row")

    def __init__(
        self, group: int, row: int, items: list[Any], *, is_error: bool = False, after: tuple[int, int] | None = None
    ) -> None:
        super().__init__(items, is_error=is_error)
        self.group = group
        self.row = row
        self.after = after or (group, row + len(items))

    def place(self, back: int) -> tuple[int, int]:
        """Group and row of what comes next."""
        passed = self.passed(back)
        return self.after if passed >= max(self.count, self._total) else (self.group, self.row + passed)


class ColumnarReader(PartReader):
    """The records of one file in columns.

    A group that cannot be read raises one `DataError`, and reading goes on with the next; so does a row that has no
    form in Python.

    Memory: what the file's own reader holds of one group, and 256 records.   Resume: exact, and opens the group
    that the state stands in.   Threads: any, one at a time.
    """

    _groups: OpenGroups
    _place: Place[_Run]

    def state(self, back: int = 0) -> State:
        group, row = self._place.run.place(back)
        if row and row == self._groups.count_rows(group):
            group, row = group + 1, 0
        return {"group": group, "row": row, **self._place.mark(back), **self._groups.state(group, row)}

    def close(self) -> None:
        self._groups.close()


def open_groups(path: Path, groups: OpenGroups, state: State | None, share: Share | None = None) -> ColumnarReader:
    """A reader of an open file from its first row or from `state`; with a share, of the rows whose turn is its."""
    place = Place(_Run(state["group"], state["row"], []) if state else _Run(0, 0, []), share)
    reader = cast(ColumnarReader, ColumnarReader.from_iterable(hold_failure(_iter_links(path, groups, place, share))))
    reader._groups = groups
    reader._place = place
    return reader


def check_names(path: Path, names: list[str], columns: tuple[str, ...] | None) -> None:
    """Check that the columns of a file have names of their own, and are those asked for.

    Raises:
        DataError: they are not.
    """
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"expected columns with names of their own, got `{repeated}` twice", where=str(path))
    missing = [name for name in columns or () if name not in names]
    if missing:
        raise DataError(
            f"expected a column `{missing[0]}`, got {', '.join(f'`{name}`' for name in names) or 'none'}",
            where=str(path),
            hint="name columns that all files have",
        )


def choose_columns(schema: pa.Schema, columns: tuple[str, ...] | None) -> pa.Schema:
    """The schema of these columns, in the order of the file."""
    import pyarrow as pa

    return schema if columns is None else pa.schema([field for field in schema if field.name in columns])


def corrupt_errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises of a file that is not what it says it is; the last, of names."""
    import pyarrow as pa

    return OSError, EOFError, pa.ArrowException, UnicodeDecodeError


def explain_cause(path: Path, error: BaseException) -> str:
    """What pyarrow says is wrong with data, in a line.

    Raises:
        ResourceError: the fault is the disk's or the network's, not the data's.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise ResourceError(f"cannot be read: {os.strerror(error.errno)}", where=str(path)) from error
    return (str(error) or type(error).__name__).splitlines()[0]


def _iter_links(path: Path, groups: OpenGroups, place: Place[_Run], share: Share | None) -> Iterator[Iterator[Any]]:
    group, row = place.run.place(0)
    while True:
        try:
            batches = groups.iter_batches(group)
        except IndexError:
            break
        for run in iter_group(path, groups, group, row, batches, share=share):
            yield place.follow(run)
        group, row = group + 1, 0
    groups.close()


def iter_group(
    path: Path,
    groups: Groups,
    group: int,
    row: int,
    batches: Iterator[pa.RecordBatch],
    stop: int | None = None,
    *,
    share: Share | None = None,
) -> Iterator[_Run]:
    """The runs of one group from `row` up to `stop`; of rows that are not the share's turn none is taken out."""
    at = 0
    while True:
        try:
            batch = next(batches, None)
        except corrupt_errors() as error:
            yield _lost(path, groups, group, max(row, at), error)
            return
        if batch is None or (stop is not None and at >= stop):
            break
        after = at + batch.num_rows
        if after > row:
            skipped = max(0, row - at)
            asked = batch.slice(skipped, None if stop is None else stop - at - skipped)
            yield from _iter_rows(path, groups, group, at + skipped, asked, share)
        at = after
    rows = groups.count_rows(group)
    if rows is not None and at < rows and stop is None:  # what pyarrow makes of a file that was cut
        yield _lost(path, groups, group, max(row, at), EOFError("the file ends early"))


def _iter_rows(
    path: Path, groups: Groups, group: int, row: int, batch: pa.RecordBatch, share: Share | None
) -> Iterator[_Run]:
    """The runs of a batch that begins at `row`: one, unless some row of it has no form in Python."""
    run: _Run | None = None
    with suppress(ValueError, OverflowError):  # found below
        run = _Run(group, row, batch.to_pylist()) if share is None else _take_share(group, row, batch, share)
    if run is not None:
        yield run
        return
    good: list[Any] = []
    for index in range(batch.num_rows):
        try:
            good += batch.slice(index, 1).to_pylist()
        except (ValueError, OverflowError) as error:
            if good:
                yield _Run(group, row + index - len(good), good)
                good = []
            where = f"{path}, {groups.word} {group}, row {row + index}"
            message = f"a value has no form in Python: {explain_value(error)}"
            wrong = DataError(message, where=where, raw=pack_row(batch, index))
            wrong.__cause__ = error.with_traceback(None)
            yield _Run(group, row + index, [wrong], is_error=True)
    if good:
        yield _Run(group, row + batch.num_rows - len(good), good)


def _take_share(group: int, row: int, batch: pa.RecordBatch, share: Share) -> _Run:
    """The rows of a batch that are the share's turn."""
    seen, places = share.seen, share.take(batch.num_rows)
    try:
        chosen = batch if len(places) == batch.num_rows else batch.take(list(places)) if places else batch.slice(0, 0)
        items = chosen.to_pylist()
    except (ValueError, OverflowError):
        share.seen = seen
        raise
    run = _Run(group, row, [], after=(group, row + batch.num_rows))
    run.share(items, seen, places, batch.num_rows)
    return run


def pack_row(batch: pa.RecordBatch, index: int) -> bytes:
    """One row as an Arrow stream of its own: all that a quarantine can keep of it."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch.slice(index, 1))
    return sink.getvalue().to_pybytes()


def unpack_row(raw: bytes) -> Record:
    """The record of `pack_row`.

    Raises:
        DataError: it has no form in Python, or the bytes are none of a row.
    """
    import pyarrow as pa

    if not raw:
        raise DataError("no bytes were kept of it: read its file anew", raw=raw)
    try:
        table = pa.ipc.open_stream(raw).read_all()
    except corrupt_errors() as error:
        raise DataError(f"expected a row as an Arrow stream: {error}", raw=raw) from error
    try:
        record: Record = table.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        raise DataError(f"a value has no form in Python: {explain_value(error)}", raw=raw) from error
    return record


def explain_value(error: Exception) -> str:
    """Why a value could not be taken out of its column."""
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8: {error.reason} at byte {error.start} of a text"
    return str(error).splitlines()[0]


def _lost(path: Path, groups: Groups, group: int, row: int, error: BaseException) -> _Run:
    cause = explain_cause(path, error)
    rows = groups.count_rows(group)
    lost = "its rows are" if rows is None else f"{rows - row:,} of its {rows:,} rows are"
    wrong = DataError(f"{groups.word} {group} is corrupt, {lost} lost: {cause}", where=f"{path}, {groups.word} {group}")
    wrong.__cause__ = error.with_traceback(None)  # which holds frames, and they the file
    return _Run(group, row, [wrong], is_error=True, after=(group + 1, 0))
