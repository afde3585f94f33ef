"""Records as tables of one schema, which only the last of them settles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

from tidemill.data.formats.columnar.exact_values import can_unify, find_changed_record, infer_array
from tidemill.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_RECORDS = 1024
_TABLE_BYTES = 32 * 1024 * 1024
_MEMORY_BYTES = 32 * 1024 * 1024
"""Of a spool; what is more goes to a temporary file."""
_HINT = "map the column to one type first, or write JSON Lines"


class Spool:
    """Tables that are read once more, with the schema that all of them fit.

    Attributes:
        schema: each column with the widest of its types; a column that some records lack is null there.
        count: the number of records.
    """

    def __init__(self, file: Any, schema: pa.Schema, chunks: int, count: int) -> None:
        self.schema = schema
        self.count = count
        self._file = file
        self._chunks = chunks

    def __iter__(self) -> Iterator[pa.Table]:
        """Tables of about 32 MiB."""
        import pyarrow as pa

        self._file.seek(0)
        tables: list[pa.Table] = []
        size = 0
        for _ in range(self._chunks):
            with pa.ipc.open_stream(self._file) as reader:
                tables.append(self._fit(reader.read_all()))
            size += tables[-1].nbytes
            if size >= _TABLE_BYTES:
                yield pa.concat_tables(tables).combine_chunks()
                tables, size = [], 0
        if tables:
            yield pa.concat_tables(tables).combine_chunks()

    def _fit(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        columns = []
        for field in self.schema:
            if field.name not in table.column_names:
                columns.append(pa.nulls(table.num_rows, field.type))
                continue
            try:
                columns.append(table[field.name].cast(field.type))
            except pa.ArrowInvalid as error:
                raise DataError(f"the column `{field.name}` has no one type that keeps its values: {error}") from error
        return pa.table(columns, schema=self.schema)


@contextmanager
def spool_tables(records: Iterable[Any]) -> Iterator[Spool]:
    """The records as tables, after all of them were read.

    Memory: 1,024 records, and 32 MiB; what is more lies in a temporary file.

    Raises:
        DataError: a record is no dict, or a column holds values of different types; names the record.
    """
    import pyarrow as pa

    iterator = iter(records)
    schema = pa.schema([])
    chunks = count = 0
    with SpooledTemporaryFile(max_size=_MEMORY_BYTES) as file:
        while chunk := list(islice(iterator, _CHUNK_RECORDS)):
            table = _to_table(chunk, count)
            schema = _unify(schema, table.schema, count)
            with pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
            chunks += 1
            count += len(chunk)
        yield Spool(file, schema, chunks, count)


def _to_table(records: list[Any], first: int) -> pa.Table:
    import pyarrow as pa

    for number, record in enumerate(records, first):
        if not isinstance(record, dict) or not all(type(name) is str for name in record):
            raise DataError(f"record {number} has no columns: expected a dict with names, got {_name_kind(record)}")
    names = dict.fromkeys(chain.from_iterable(records))
    if not names:
        raise DataError(f"record {first} has no columns: expected a dict with names, got an empty one")
    return pa.table({name: _to_array(name, [record.get(name) for record in records], first) for name in names})


def _name_kind(record: Any) -> str:
    return "other keys than text" if isinstance(record, dict) else f"a {type(record).__name__}"


def _to_array(name: str, values: list[Any], first: int) -> pa.Array[Any]:
    """The values as a column of the type that Arrow finds for them, each as it is.

    Raises:
        DataError: there is none; names the record.
    """
    import pyarrow as pa

    converted = _convert(values)
    if isinstance(converted, pa.Array):
        found = find_changed_record(values, converted.type)
        if found is None:
            return converted
        number, why = found[0], f"{converted.type} would change {found[1]!r:.80}"
    else:
        number = _find_misfit(values)
        why = f"{_convert(values[: number + 1])}"
    place = f"record {first + number} has a value in the column `{name}`"
    raise DataError(f"{place} that fits no Arrow type together with those before: {why}", hint=_HINT)


def _convert(values: list[Any]) -> pa.Array[Any] | Exception:
    import pyarrow as pa

    try:
        return infer_array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        return error


def _find_misfit(values: list[Any]) -> int:
    """The place of a value up to which values that do not convert all do."""
    good, bad = 0, len(values)  # so many first ones convert, and so many do not
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if isinstance(_convert(values[:middle]), Exception) else (middle, bad)
    return good


def _unify(schema: pa.Schema, found: pa.Schema, first: int) -> pa.Schema:
    import pyarrow as pa

    for field in found:
        if field.name in schema.names and not can_unify(schema.field(field.name).type, field.type):
            message = f"`{field.name}` is {field.type}, and was {schema.field(field.name).type}"
            raise DataError(f"records from number {first} on have other types than those before: {message}", hint=_HINT)
    try:
        return pa.unify_schemas([schema, found], promote_options="permissive")
    except pa.ArrowException as error:
        message = f"records from number {first} on have other types than those before: {error}"
        raise DataError(message, hint=_HINT) from error
