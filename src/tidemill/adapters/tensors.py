"""Tensors from Python values, NumPy arrays and Arrow columns."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from numbers import Number
from typing import Any

import numpy as np
import torch

from tidemill.adapters.arrays import to_tensor
from tidemill.adapters.column import Column
from tidemill.errors import DataError

_INT64 = torch.iinfo(torch.int64)
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
_NUMBERS = (int, float, complex, np.generic)
_LISTS = frozenset((list, tuple))
_STAY = (str, bytes, bytearray, Mapping)
"""What a list keeps as it is: there is no tensor of it."""


def collate_batch(batch: Any) -> dict[str, Any]:
    """What `tidemill.collate` gives; see there."""
    if isinstance(batch, Mapping):
        return {name: _collate_given(values, Column(str(name))) for name, values in batch.items()}
    if hasattr(batch, "column_names") and hasattr(batch, "schema"):  # an Arrow table or record batch
        from tidemill.adapters.arrow_tensors import collate_arrow

        return {name: collate_arrow(batch.column(name), Column(name)) for name in batch.column_names}
    if not isinstance(batch, (list, tuple)) or not batch:
        got = "none" if isinstance(batch, (list, tuple)) else f"a {type(batch).__name__}"
        raise DataError(f"expected a batch of records to collate, got {got}")
    return _collate_records(batch, Column(""))


def collate_values(values: Sequence[Any], column: Column) -> Any:
    """One column's values, one for each record: a tensor, a dict of columns, or the values as they are."""
    kinds = set(map(type, values))
    if all(issubclass(kind, Mapping) for kind in kinds):
        return _collate_records(values, column)
    if all(issubclass(kind, _STAY) for kind in kinds):
        return list(values)
    if kinds <= _LISTS:
        return _stack_lists(values, column)
    return _stack_leaves(values, kinds, column)


def _collate_given(values: Any, column: Column) -> Any:
    """A column that came as one: an array, or a list of values."""
    if isinstance(values, torch.Tensor):
        return values
    if isinstance(values, np.ndarray) and values.dtype != object:
        return to_tensor(values, column)
    find_array = getattr(values, "find_array", None)  # of a dataset's column
    array = None if find_array is None else find_array()
    if array is not None:
        return to_tensor(array, column)
    return collate_values(list(values), column)


def _collate_records(records: Sequence[Any], column: Column) -> dict[str, Any]:
    first = records[0]
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise column.error(number, f"expected a dict, got a {type(record).__name__}")
        if record.keys() != first.keys():
            names = ", ".join(map(repr, sorted(map(str, record.keys() ^ first.keys()))))
            raise column.error(
                number,
                f"it has other columns than the first record of the batch: {names}",
                hint="select the columns that all records have, or give the missing ones a value",
            )
    return {name: collate_values([record[name] for record in records], column.inside(name)) for name in first}


def _stack_lists(values: Sequence[Any], column: Column) -> Any:
    """Lists within lists, level by level, as one tensor; as they are where their leaves have no tensor."""
    shape: list[int] = [len(values)]
    items: Sequence[Any] = values
    ragged: DataError | None = None
    kinds = set(map(type, items))
    while items and kinds <= _LISTS:
        column = column.within(len(items) // len(values))
        lengths = list(map(len, items))
        if ragged is None and len(set(lengths)) > 1:
            ragged = _ragged(lengths, column)
        shape.append(lengths[0])
        items = list(chain.from_iterable(items))
        kinds = set(map(type, items))
    if any(issubclass(kind, _STAY) for kind in kinds):
        return list(values)
    if ragged is not None:
        raise ragged
    leaves = _stack_leaves(items, kinds, column.within(max(1, prod(shape[1:])))) if items else torch.empty(0)
    return leaves.reshape(*shape, *leaves.shape[1:])


def _stack_leaves(values: Sequence[Any], kinds: set[type], column: Column) -> torch.Tensor:
    """One tensor over values that are no lists: numbers, arrays or tensors, all of one kind."""
    if all(issubclass(kind, torch.Tensor) for kind in kinds):
        _check_shapes(values, column)
        return torch.stack(list(values))
    if kinds == {np.ndarray}:
        _check_shapes(values, column)
        return to_tensor(np.stack(values), column)
    if not all(issubclass(kind, _NUMBERS) and not issubclass(kind, _DATES) for kind in kinds):
        for number, value in enumerate(values):
            _check_number(value, number, column)
    if any(issubclass(kind, np.generic) for kind in kinds):
        return to_tensor(np.asarray(values), column)
    if kinds == {bool}:
        return torch.from_numpy(np.fromiter(values, np.bool_, len(values)))
    if bool in kinds:
        number = next(number for number, value in enumerate(values) if isinstance(value, bool))
        raise column.error(number, "expected numbers or booleans, got both", hint="make them one: `int(value)`")
    if kinds == {int}:
        return _stack_integers(values, column)
    if kinds == {float}:  # eight times as quick as torch, rounded as it does
        return torch.from_numpy(np.fromiter(values, np.float64, len(values))).to(torch.get_default_dtype())
    return torch.tensor(values)


def _stack_integers(values: Sequence[int], column: Column) -> torch.Tensor:
    try:
        return torch.from_numpy(np.fromiter(values, np.int64, len(values)))
    except OverflowError:
        number = next(n for n, value in enumerate(values) if not _INT64.min <= value <= _INT64.max)
        raise column.error(
            number, "expected an integer of 64 bits, got a larger one", hint="keep it as a string, or make it a float"
        ) from None


def _check_number(value: Any, number: int, column: Column) -> None:
    """Refuse what no tensor holds, saying what to make of it."""
    if value is None:
        hint = "fill it in a step (`with_columns`), filter such records out, or drop the column"
        raise column.error(number, "expected a value, got None", hint=hint)
    if isinstance(value, _DATES):
        hint = "make it a number (`value.timestamp()`) or a string (`value.isoformat()`) in a step, or drop the column"
        raise column.error(number, f"expected a number, got a {type(value).__name__}", hint=hint)
    if not isinstance(value, _NUMBERS):
        hint = "make it a number in a step, or drop the column"
        if isinstance(value, (Number, *_LISTS, str)):
            hint = "make all its values one kind in a step (`float(value)`), or drop the column"
        raise column.error(number, f"expected a number, got a {type(value).__name__}", hint=hint)


def _check_shapes(values: Sequence[Any], column: Column) -> None:
    shape = values[0].shape
    for number, value in enumerate(values):
        if value.shape != shape:
            raise column.error(
                number,
                f"expected an array of shape {tuple(shape)}, as the first record's, got {tuple(value.shape)}",
                hint="pad or cut the arrays to one shape in a step",
            )


def _ragged(lengths: list[int], column: Column) -> DataError:
    number = next(number for number, length in enumerate(lengths) if length != lengths[0])
    return ragged_error(column, number, lengths[0], lengths[number])


def ragged_error(column: Column, number: int, expected: int, got: int) -> DataError:
    """The error for lists that differ in length."""
    return column.error(
        number,
        f"expected lists of one length, {expected} as the first, got {got}",
        hint="pad them in a step or with the tokenizer's own collator, or pack them",
    )
