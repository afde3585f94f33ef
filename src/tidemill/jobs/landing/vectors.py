"""NumPy's arrays in records as Arrow columns: those of one shape and kind without a step per number."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def has_arrays(values: Sequence[Any]) -> bool:
    """Whether NumPy's arrays are among the values."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and any(issubclass(kind, numpy.ndarray) for kind in set(map(type, values)))


def find_array_type(values: Sequence[Any]) -> pa.DataType | None:
    """Lists of so many numbers of their kind, where each value is an array of one shape; else None.

    Of no numbers they are lists of any length: those of length 0 can be written into Parquet, and not read again.
    """
    first = values[0]
    if not all(type(value) is type(first) and _is_alike(value, first) for value in values) or not first.ndim:
        return None
    try:
        kind = pa.from_numpy_dtype(first.dtype.newbyteorder("="))
    except (pa.ArrowNotImplementedError, NotImplementedError):
        return None
    for length in reversed(first.shape):
        kind = pa.list_(kind, length if first.size else -1)
    return kind


def build_array_column(values: Sequence[Any], kind: pa.DataType) -> pa.Array[Any] | None:
    """The values as a column of that type; None where they are not just what it holds, or hold nothing."""
    if not values or not has_arrays(values) or find_array_type(values) != kind or not values[0].size:
        return None
    import numpy as np

    kinds = [kind]
    while pa.types.is_fixed_size_list(kinds[-1]):
        kinds.append(kinds[-1].value_type)
    numbers = np.stack(values)
    column: Any = pa.array(numbers.astype(numbers.dtype.newbyteorder("="), copy=False).ravel())
    lists: Any = pa.FixedSizeListArray  # whose stubs want the type of what is in them
    for each in reversed(kinds[:-1]):
        column = lists.from_arrays(column, type=each)
    found: pa.Array[Any] = column
    return found


def to_lists(values: Sequence[Any]) -> list[Any]:
    """The values with lists in the place of arrays."""
    return [value.tolist() if has_arrays((value,)) else value for value in values]


def _is_alike(value: Any, first: Any) -> bool:
    return bool(value.dtype == first.dtype and value.shape == first.shape)
