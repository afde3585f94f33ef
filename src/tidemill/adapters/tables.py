"""Streams and datasets as tables, in bounded batches: Arrow, pandas, polars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from tidemill.data.formats.columnar.exact_values import find_changed_record, refine
from tidemill.errors import DataError
from tidemill.packages import missing_package

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

BATCH_RECORDS = 1024
_HINT = "give a type that holds all values with schema=, or make them one kind in a step"


def to_arrow(
    stream: Iterable[Any], batch: int = BATCH_RECORDS, *, schema: pa.Schema | None = None
) -> pa.RecordBatchReader:
    """The records as a reader of record batches: what DuckDB, Lance, Arrow's writers and others take.

    Columns and types are those of `schema`, else of the first batch. A record that lacks a column has null there.

    Order: kept.   Memory: one batch.
    Failure: raised out of the reader.   Resume: none; `stream.batch(…, form="arrow")` gives tables and has a state.

    Args:
        batch: records in a batch; the last may have fewer.

    Raises:
        DataError: a record is no dict, has a column that the schema has not, or a value of another type; names the
            column and the record. Out of the first batch, here; out of later ones, by the reader.
    """
    import pyarrow as pa

    records = iter(stream)
    first = list(islice(records, batch))
    names = tuple(dict.fromkeys(name for number, record in enumerate(first) for name in _columns_of(record, number)))
    if schema is None:
        schema = pa.schema([(name, _infer(first, name)) for name in names])
    return pa.RecordBatchReader.from_batches(schema, _iter_batches(first, records, batch, schema))


def to_pandas(
    stream: Iterable[Any],
    batch: int = BATCH_RECORDS,
    *,
    schema: pa.Schema | None = None,
    types: Callable[[Any], Any] | None = None,
) -> Iterator[pd.DataFrame]:
    """The records as data frames of `batch` rows.

    Order, memory, failure and resume are as of `to_arrow`.

    Args:
        types: the dtype for an Arrow type. By default pandas' own, which makes floats of integers with None;
            `pandas.ArrowDtype` keeps every type and value.

    Raises:
        ResourceError: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401 - so that its absence is told here, by the name of its extra
    except ModuleNotFoundError as error:
        raise missing_package("to_pandas", "pandas", "pandas", error) from error
    return (part.to_pandas(types_mapper=types) for part in to_arrow(stream, batch, schema=schema))


def to_polars(
    stream: Iterable[Any], batch: int = BATCH_RECORDS, *, schema: pa.Schema | None = None
) -> Iterator[pl.DataFrame]:
    """The records as polars frames of `batch` rows.

    Order, memory, failure and resume are as of `to_arrow`.

    Raises:
        ResourceError: polars is not installed.
    """
    try:
        import polars as pl
    except ModuleNotFoundError as error:
        raise missing_package("to_polars", "polars", "polars", error) from error
    return (pl.DataFrame(part) for part in to_arrow(stream, batch, schema=schema))


def _iter_batches(first: list[Any], records: Iterator[Any], size: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    held, start = first, 0
    while held:
        _check_columns(held, start, schema)
        columns = [_convert(held, start, field) for field in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
        start += len(held)
        held = list(islice(records, size))


def _infer(records: list[Any], name: str) -> pa.DataType:
    """The Arrow type of a column: of all its values in these records."""
    import pyarrow as pa

    values = [record.get(name) for record in records]
    try:
        return refine(pa.array(values).type, values)
    except (pa.ArrowException, OverflowError) as error:
        hint = "give the type with schema=, or make all its values one kind in a step"
        raise DataError(f"its values have no one Arrow type: {error}", where=f"column `{name}`", hint=hint) from error


def _convert(records: list[Any], start: int, field: pa.Field[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    values = [record.get(field.name) for record in records]
    try:
        converted: pa.Array[Any] = pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        number = next((number for number, value in enumerate(values) if not _fits(value, field.type)), 0)
        raise DataError(
            f"expected a value of the Arrow type {field.type}, got a {type(values[number]).__name__}: {error}",
            where=f"column `{field.name}`, record {start + number:,}",
            hint=_HINT,
        ) from error
    if (found := find_changed_record(values, field.type, is_given=True)) is None:
        return converted
    number, changed = found
    raise DataError(
        f"expected a value of the Arrow type {field.type}, which would change {changed!r:.80}",
        where=f"column `{field.name}`, record {start + number:,}",
        hint=_HINT,
    )


def _fits(value: Any, kind: pa.DataType) -> bool:
    import pyarrow as pa

    try:
        pa.array([value], kind)
    except (pa.ArrowException, OverflowError, TypeError):
        return False
    return True


def _check_columns(records: list[Any], start: int, schema: pa.Schema) -> None:
    known = frozenset(schema.names)
    for number, record in enumerate(records, start):
        if not known.issuperset(_columns_of(record, number)):
            names = ", ".join(f"`{name}`" for name in record if name not in known)
            raise DataError(
                f"expected the columns of the first batch, got {names} besides",
                where=f"record {number:,}",
                hint="give all columns with schema=, take a larger batch, or `select` those that are wanted",
            )


def _columns_of(record: Any, number: int) -> Mapping[str, Any]:
    if isinstance(record, Mapping):
        return record
    raise DataError(f"expected a record with columns, got a {type(record).__name__}", where=f"record {number:,}")
