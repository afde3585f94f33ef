"""The forms a batch can have, and its records again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tidemill.data.formats.columnar.exact_values import find_changed_within, infer_array
from tidemill.errors import DataError

Form = Callable[[list[Any]], Any]


def make_form(form: str) -> Form:
    """What turns a list of records into a batch: `records`, `columns`, `arrow` or `numpy`."""
    return {"records": _as_they_are, "columns": to_columns, "arrow": to_arrow, "numpy": to_numpy}[form]


def to_columns(records: list[Any]) -> dict[str, list[Any]]:
    """A list for each column of the first record.

    Raises:
        DataError: a record is no dict, or has other columns than the first.
    """
    first = _columns_of(records[0], 0)
    for number, record in enumerate(records):
        columns = _columns_of(record, number)
        if columns != first:
            differing = sorted(columns ^ first)
            raise DataError(
                f"record {number} of the batch has other columns than its first: {', '.join(map(repr, differing))}",
                hint="select the columns that all records have, or give the missing ones None",
            )
    return {name: [record[name] for record in records] for name in records[0]}


def to_arrow(records: list[Any]) -> Any:
    """A `pyarrow.Table`.

    Raises:
        DataError: a column holds values of different types.
    """
    import pyarrow as pa

    columns = to_columns(records)
    arrays = {}
    for name, values in columns.items():
        try:
            array = infer_array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise DataError(f"the column `{name}` has no one Arrow type: {error}") from error
        if (wrong := find_changed_within(values, array.type)) is not None:
            raise DataError(f"the column `{name}` has no one Arrow type: {array.type} would change {wrong!r:.80}")
        arrays[name] = array
    return pa.table(arrays)


def to_numpy(records: list[Any]) -> dict[str, Any]:
    """A NumPy array for each column: numbers `(batch, …)` in their own dtype, everything else as objects.

    Raises:
        DataError: NumPy is not installed, or the records have different columns.
    """
    return {name: to_array(values) for name, values in to_columns(records).items()}


def to_array(values: list[Any]) -> Any:
    """A NumPy array of values: numbers `(values, …)` in their own dtype, everything else as objects.

    Raises:
        DataError: NumPy is not installed.
    """
    try:
        import numpy as np
    except ImportError as error:
        raise DataError("an array needs NumPy", hint="pip install numpy") from error
    try:
        array = np.asarray(values)
    except ValueError:  # ragged
        array = None
    if array is None or array.dtype.kind not in "biufcM":
        array = np.empty(len(values), dtype=object)
        for number, value in enumerate(values):  # given all at once, lists of one length would be rows
            array[number] = value
    return array


def iter_batch(batch: Any) -> Iterator[Any]:
    """The records of a batch of any form.

    Raises:
        DataError: it is none.
    """
    if isinstance(batch, (list, tuple)):
        return iter(batch)
    if isinstance(batch, Mapping):
        return _iter_rows(batch)
    if hasattr(batch, "to_pylist"):
        return iter(batch.to_pylist())
    raise DataError(f"expected a batch (a list, a dict of columns or an Arrow table), got a {type(batch).__name__}")


def _iter_rows(columns: Mapping[str, Any]) -> Iterator[Any]:
    names = tuple(columns)
    values = [column.tolist() if hasattr(column, "tolist") else column for column in columns.values()]
    for name, column in zip(names, values, strict=True):
        if not isinstance(column, (list, tuple)):
            raise DataError(f"expected a batch as a dict of columns, got a {type(column).__name__} as `{name}`")
    try:
        for row in zip(*values, strict=True):
            yield dict(zip(names, row, strict=True))
    except ValueError as error:
        lengths = ", ".join(f"`{name}` {len(column)}" for name, column in columns.items())
        raise DataError(f"expected columns of one length, got {lengths}") from error


def _as_they_are(records: list[Any]) -> list[Any]:
    return records


def _columns_of(record: Any, number: int) -> Any:
    if not isinstance(record, Mapping):
        raise DataError(f"expected records with columns, got a {type(record).__name__} as number {number} of the batch")
    return record.keys()
