"""Arrow schemas for records: from a Pydantic model, from the records themselves, and records as Arrow."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from itertools import chain
from types import NoneType
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from tidemill.data.formats.columnar.exact_values import find_changed, refine
from tidemill.errors import DataError
from tidemill.jobs.landing.arrow_types import find_type
from tidemill.jobs.landing.shape import find_no_record
from tidemill.jobs.landing.vectors import build_array_column, find_array_type, has_arrays, to_lists
from tidemill.models.steps.embed import Vector
from tidemill.protocols import Record

_PYTHON_TYPES: Mapping[pa.DataType, tuple[type, ...]] = {
    pa.bool_(): (bool, NoneType),
    pa.int64(): (int, NoneType),
    pa.float64(): (float, int, NoneType),
    pa.float32(): (float, int, NoneType),
    pa.string(): (str, NoneType),
}
# What is taken besides: NumPy's numbers and subclasses such as enumerations, which Arrow converts exactly.
_ALIKE: Mapping[type, type] = {int: numbers.Integral, float: numbers.Real, str: str}


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """The schema of records in the JSON form of `model`, in its field order; every column may be null.

    Raises:
        ConfigError: a field has no Arrow type; names it.
    """
    kind = find_type(model, model.__name__)
    return pa.schema([kind.field(index) for index in range(kind.num_fields)])


def infer_schema(rows: Sequence[Any], outputs: Mapping[str, Any]) -> pa.Schema | None:
    """The schema of those of `rows` that are records: columns in order of appearance; None when none has any.

    A column of `outputs` is typed by its annotation, unless a later step has put something else there.
    """
    are_records = set(map(type, rows)) == {dict} and set(map(type, chain.from_iterable(rows))) == {str}
    records = rows if are_records else [row for row in rows if find_no_record(row) is None]
    if not records:
        return None
    names = dict.fromkeys(chain.from_iterable(records))
    if not names:
        return None
    return pa.schema([(name, _column_type(name, records, outputs)) for name in names])


def build_batch(rows: Sequence[Record], schema: pa.Schema) -> pa.RecordBatch:
    """`rows` as one Arrow batch, each value as it is: nothing is cut, cast or dropped.

    Arrow itself turns 1.5 into 1, True into 1.0 and drops unknown nested keys; so types are checked first.

    Raises:
        DataError: a row does not fit the schema; names the column, its type and the value.
    """
    columns = []
    names = set(schema.names)
    if not names or set(map(type, rows)) != {dict} or not names.issuperset(chain.from_iterable(rows)):
        for row in rows:
            _check_columns(row, schema)
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = [row.get(name) for row in rows]
        column = build_array_column(values, kind)
        if column is not None:
            columns.append(column)
            continue
        values = to_lists(values) if has_arrays(values) else values
        misfit = _find_misfit(values, kind, name)
        if misfit is not None:
            raise DataError(misfit)
        try:
            columns.append(pa.array(values, kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as exc:
            raise DataError(f"column `{name}` is {kind}: {exc}") from exc
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _check_columns(row: Any, schema: pa.Schema) -> None:
    """Check that `row` is a record with columns of `schema` alone."""
    wrong = find_no_record(row)
    if wrong is not None:
        raise wrong
    names = set(schema.names)
    if not names and not row:
        raise DataError("the record has no columns, without which Parquet holds none", hint="write JSON lines")
    if not row.keys() <= names:
        extra = next(name for name in row if name not in names)
        raise DataError(
            f"column `{extra}` is not in the output's schema ({', '.join(schema.names)})",
            hint="give every record the same columns, name them in sink.schema, or leave it out with select",
        )


def _find_misfit(values: Sequence[Any], kind: pa.DataType, path: str) -> str | None:
    """What keeps a column's values from being of `kind`, None when they are; a column at a time for speed."""
    if pa.types.is_struct(kind):
        return _find_struct_misfit(values, kind, path)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        wrong = _find_other(values, (list, tuple, NoneType))
        wrong = _find_other_length(values, kind) if wrong is None else wrong
        if wrong is None:
            inner = list(chain.from_iterable(value for value in values if value is not None))
            return _find_misfit(inner, kind.value_type, f"{path}[]")
    else:
        allowed = _PYTHON_TYPES.get(kind)
        wrong = find_changed(values, kind) if allowed is None else _find_other(values, allowed)
        if wrong is None and kind == pa.float32():
            wrong = _find_wider(values)
    if wrong is None:
        return None
    return f"column `{path}` is {kind}, got {wrong!r:.80}"


def _find_struct_misfit(values: Sequence[Any], kind: pa.StructType, path: str) -> str | None:
    wrong = _find_other(values, (dict, NoneType))
    if wrong is not None:
        return f"column `{path}` is {kind}, got {wrong!r:.80}"
    structs = [value for value in values if value is not None]
    extra = set().union(*structs) - {field.name for field in kind}
    if extra:
        return f"`{path}.{min(map(str, extra))}` is not in the output's schema: `{path}` is {kind}"
    for field in kind:
        name = field.name  # once: Arrow makes the text anew each time
        misfit = _find_misfit([value.get(name) for value in structs], field.type, f"{path}.{name}")
        if misfit is not None:
            return misfit
    return None


def _find_other(values: Sequence[Any], allowed: tuple[type, ...]) -> Any | None:
    """The first value whose type is not one of `allowed`, among which None is; None when there is none."""
    if set(map(type, values)).issubset(allowed):
        return None
    alike = tuple(_ALIKE[kind] for kind in allowed if kind in _ALIKE)
    return next((value for value in values if not _is_allowed(value, allowed, alike)), None)


def _find_other_length(values: Sequence[Any], kind: pa.DataType) -> Any | None:
    """The first list that is not as long as a column of lists of one length has them."""
    if not pa.types.is_fixed_size_list(kind):
        return None
    size = kind.list_size
    return next((value for value in values if value is not None and len(value) != size), None)


def _find_wider(values: Sequence[Any]) -> Any | None:
    """The first number that is none of 32 bits: Arrow would round it."""
    wide = pa.array(values, pa.float64())
    narrow = wide.cast(pa.float32()).cast(pa.float64())
    if narrow.equals(wide):
        return None
    pairs = zip(values, narrow.to_pylist(), strict=True)
    return next((value for value, kept in pairs if value != kept and value == value), None)


def _is_allowed(value: Any, allowed: tuple[type, ...], alike: tuple[type, ...]) -> bool:
    return type(value) in allowed or (isinstance(value, alike) and not isinstance(value, bool))


def _column_type(name: str, rows: Sequence[Record], outputs: Mapping[str, Any]) -> pa.DataType:
    values = [row.get(name) for row in rows]
    if has_arrays(values):
        kind_of_arrays = find_array_type(values)
        if kind_of_arrays is not None:
            return kind_of_arrays
        values = to_lists(values)
    if name in outputs:
        kind = _vector_type(values) if outputs[name] is Vector else find_type(outputs[name], name)
        if _find_misfit(values, kind, name) is None:
            return kind
    inferred = _infer_type(values)
    if inferred is None:
        # Values of several types, or of none that Arrow has: the first it can hold decides, the others do not fit.
        each = (_infer_type([value]) for value in values if value is not None)
        inferred = next((kind for kind in each if kind is not None), None)
    return pa.string() if inferred is None else inferred


def _vector_type(values: Sequence[Any]) -> pa.DataType:
    """The column type of vectors: of one length where all of them have it, and it is not 0."""
    lengths = {len(value) for value in values if isinstance(value, (list, tuple))}
    return pa.list_(pa.float32(), lengths.pop() if len(lengths) == 1 and 0 not in lengths else -1)


def _infer_type(values: Sequence[Any]) -> pa.DataType | None:
    """The type that holds each of `values` as it is, None when there is none."""
    try:
        kind = refine(_widen(pa.infer_type(values)), values)  # type: ignore[call-arg] # the stubs want a mask
        if _has_empty(kind):  # Parquet has no column for it, and tells so when the file is written
            return None
        pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return kind if _find_misfit(values, kind, "") is None else None


def _has_empty(kind: pa.DataType) -> bool:
    """Whether there is an object without any field in it."""
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_has_empty(field.type) for field in kind)
    return pa.types.is_list(kind) and _has_empty(kind.value_type)


def _widen(kind: pa.DataType) -> pa.DataType:
    """The column type for values of which `kind` was inferred: of numbers the widest, of nothing a string."""
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_decimal(kind):  # the next may have more digits before the point
        return pa.decimal128(38, kind.scale) if kind.precision <= 38 else kind
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _widen(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_widen(kind.value_type))
    return kind
