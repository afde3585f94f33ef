"""The record batches of Arrow IPC files and streams."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.data.files import PartFile, stat_file
from tidemill.data.formats.columnar.groups import BATCH_ROWS, check_names, choose_columns, corrupt_errors, explain_cause
from tidemill.data.formats.native import open_native, sum_footer
from tidemill.data.reader import raise_each
from tidemill.errors import DataError
from tidemill.protocols import State

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"ARROW1"


class FileGroups:
    """The record batches of one open file.

    Raises:
        ResourceError: it cannot be opened.
        DataError: it is no Arrow file, or has not these columns.
    """

    word = "record batch"

    def __init__(self, path: Path, columns: tuple[str, ...] | None = None) -> None:
        import pyarrow as pa

        self._stamp = stat_file(path)
        self._source = open_native(path, mapped=True)
        try:
            self._footer = sum_footer(self._source, MAGIC)
            schema = pa.ipc.open_file(self._source).schema
            check_names(path, schema.names, columns)
            self._reader = pa.ipc.open_file(self._source, options=_read_options(schema, columns))
        except corrupt_errors() as error:
            self.close()
            raise DataError(f"expected an Arrow file: {explain_cause(path, error)}", where=str(path)) from error
        except DataError:
            self.close()
            raise
        self._batches = self._reader.num_record_batches
        self._counts: dict[int, int] = {}
        self.schema = choose_columns(schema, columns)
        self.names = self.schema.names
        self.ends: list[int] = []

    def iter_batches(self, number: int) -> Iterator[pa.RecordBatch]:
        if number >= self._batches:
            raise IndexError(number)
        return self._iter_checked(number)

    def read_group(self, number: int) -> pa.RecordBatch:
        """All rows of one batch, checked."""
        batch = self._reader.get_batch(number)
        _check(batch)
        return batch

    def count_rows(self, number: int) -> int | None:
        return self._counts.get(number)

    def count_all(self) -> None:
        """Set `ends`; a batch that is not compressed is only looked at for it."""
        self.ends = list(accumulate(self._reader.get_batch(number).num_rows for number in range(self._batches)))

    def state(self, number: int, row: int) -> State:
        read = self._stamp["size"] * number // max(1, self._batches)
        return {"footer": self._footer, **self._stamp, "read": read}

    def close(self) -> None:
        self._source.close()

    def _iter_checked(self, number: int) -> Iterator[pa.RecordBatch]:
        batch = self._reader.get_batch(number)
        self._counts[number] = batch.num_rows
        yield from _iter_slices(batch.select(self.names))


class StreamGroups:
    """The record batches of one open stream, in order.

    A stream with dictionaries is gone through from its start to go on from a later batch; any other is entered there.

    Raises:
        ResourceError: it cannot be opened.
        DataError: it is no Arrow stream, or has not these columns.
    """

    word = "record batch"

    def __init__(self, path: Path, columns: tuple[str, ...] | None = None, state: State | None = None) -> None:
        import pyarrow as pa

        self._path = path
        self._file = PartFile(path, state)
        self._source = open_native(path, mapped=True)
        try:
            schema = pa.ipc.open_stream(self._source).schema
            check_names(path, schema.names, columns)
            self._source.seek(0)
            self._reader = pa.ipc.open_stream(self._source, options=_read_options(schema, columns))
        except corrupt_errors() as error:
            self.close()
            raise DataError(
                f"expected an Arrow file or stream: {explain_cause(path, error)}", where=str(path)
            ) from error
        except DataError:
            self.close()
            raise
        self._has_dictionaries = any(map(_has_dictionary, schema))
        self._next = 0
        self._ended = False
        self._failed_at: int | None = None
        self._offsets = {0: self._source.tell()}  # of each batch that was come to
        self._counts: dict[int, int] = {}
        self.schema = choose_columns(schema, columns)
        self.names = self.schema.names
        if state is not None:
            self._go_to(state)

    def iter_batches(self, number: int) -> Iterator[pa.RecordBatch]:
        """The batch that comes next, which is `number`; one that cannot be read is the last."""
        try:
            batch = self._read_next()
        except corrupt_errors() as error:
            self._ended = True
            self._failed_at = number
            return raise_each((error,))
        if batch is None:
            raise IndexError(number)
        return _iter_slices(batch.select(self.names))

    def count_rows(self, number: int) -> int | None:
        return self._counts.get(number)

    def index(self) -> tuple[list[int], list[int]]:
        """Go to the end; where each batch begins, and the rows up to the end of each."""
        while self._read_next() is not None:
            pass
        return list(self._offsets.values()), list(accumulate(self._counts.values()))

    def read_at(self, number: int, offset: int) -> pa.RecordBatch:
        """All rows of the batch that begins at `offset`.

        Raises:
            DataError: there is none.
        """
        self._go_to({"group": number, "offset": offset})
        batch = self._read_next()
        if batch is None:
            raise DataError("the stream ends early: the file changed", where=str(self._path), hint="open it anew")
        return batch

    def state(self, number: int, row: int) -> State:
        """Of the batch that could not be read, where it begins: it is read again once the file has grown."""
        has_failed = self._failed_at is not None and number > self._failed_at
        number = min(number, self._next)
        offset = self._offsets[number]
        state = {"group": number, "offset": offset, "read": offset, **self._file.state(offset)}
        return {**state, "failed": True} if has_failed else state

    def close(self) -> None:
        self._source.close()
        self._file.close()

    def _read_next(self) -> pa.RecordBatch | None:
        if self._ended:
            return None
        try:
            batch = self._reader.read_next_batch()
        except StopIteration:
            self._ended = True
            return None
        self._counts[self._next] = batch.num_rows
        self._next += 1
        self._offsets[self._next] = self._source.tell()
        return batch

    def _go_to(self, state: State) -> None:
        number, offset = state["group"], state["offset"]
        if self._has_dictionaries:
            while self._next < number:
                self._read_next()
        elif number:
            self._source.seek(offset)
            self._next = number
            self._offsets = {number: offset}
        if state.get("failed") and state["size"] == stat_file(self._path)["size"]:
            self._ended = True
            self._failed_at = number - 1  # so that the state stays as it is


class StreamByNumber:
    """The record batches of a stream in any order, each read through a reader of its own.

    Raises (when made): as `StreamGroups`.
    """

    word = "record batch"

    def __init__(self, path: Path, columns: tuple[str, ...] | None = None) -> None:
        self._path = path
        self._columns = columns
        groups = StreamGroups(path, columns)
        self.names = groups.names
        try:
            self._offsets, self.ends = groups.index()
        finally:
            groups.close()

    def iter_batches(self, number: int) -> Iterator[pa.RecordBatch]:
        if number >= len(self.ends):
            raise IndexError(number)
        return self._iter_checked(number)

    def read_group(self, number: int) -> pa.RecordBatch:
        """All rows of one batch, checked."""
        batch = self._read(number)
        _check(batch)
        return batch

    def count_rows(self, number: int) -> int:
        return self.ends[number] - (self.ends[number - 1] if number else 0)

    def _iter_checked(self, number: int) -> Iterator[pa.RecordBatch]:
        yield from _iter_slices(self._read(number))

    def _read(self, number: int) -> pa.RecordBatch:
        groups = StreamGroups(self._path, self._columns)
        try:
            return groups.read_at(number, self._offsets[number])
        finally:
            groups.close()


def is_file(path: Path) -> bool:
    """Whether it has the file format, not the stream's."""
    with open_native(path) as source:
        return source.read(len(MAGIC)) == MAGIC


def load_groups(path: Path, columns: tuple[str, ...] | None = None) -> FileGroups | StreamGroups:
    """The batches of an Arrow file or stream."""
    return FileGroups(path, columns) if is_file(path) else StreamGroups(path, columns)


def load_by_number(path: Path, columns: tuple[str, ...] | None = None) -> FileGroups | StreamByNumber:
    """The batches, and how many rows lie before each.

    Raises:
        DataError: one of them cannot be read.
    """
    try:
        if not is_file(path):
            return StreamByNumber(path, columns)
        groups = FileGroups(path, columns)
        groups.count_all()
    except corrupt_errors() as error:
        raise DataError(f"a record batch is corrupt: {explain_cause(path, error)}", where=str(path)) from error
    return groups


def _read_options(schema: pa.Schema, columns: tuple[str, ...] | None) -> pa.ipc.IpcReadOptions:
    import pyarrow as pa

    included = None if columns is None else [schema.get_field_index(name) for name in columns]
    return pa.ipc.IpcReadOptions(use_threads=False, included_fields=included)


def _has_dictionary(field: pa.Field[Any]) -> bool:
    import pyarrow as pa

    kind = field.type
    return pa.types.is_dictionary(kind) or any(_has_dictionary(kind.field(index)) for index in range(kind.num_fields))


def _iter_slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in slices, all of it checked first: a slice of a struct would be checked with all rows of the struct."""
    _check(batch)
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)


def _check(batch: pa.RecordBatch) -> None:
    """Check that every value stands inside of the batch, as values are taken from where it says without looking.

    Text that is no UTF-8 passes in a column of its own: it is told with its row.

    Raises:
        pyarrow.ArrowInvalid: some value does not.
    """
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
        for column in batch.columns:
            kind = as_bytes.get(column.type)
            (column if kind is None else column.view(kind)).validate(full=True)
