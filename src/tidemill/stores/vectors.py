"""Vectors of any form as one float32 array, and what is wrong with each of them. Needs NumPy, which every store has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tidemill.config.wording.words import describe_value
from tidemill.errors import DataError
from tidemill.protocols import Vectors
from tidemill.stores.store import Metric, Store

Matrix: TypeAlias = NDArray[np.float32]
"""Vectors, one a row: float32 (count, dimensions), contiguous."""

NUMBERS = "biuf"
"""NumPy's kinds of numbers; true and false are 1 and 0, as among Python's numbers."""

Faults: TypeAlias = dict[int, str]
"""What is wrong with a row, by its number; rows that are well are not there."""


def read_vectors(vectors: Vectors, store: Store) -> tuple[Matrix, Faults]:
    """The vectors as one array with a row for each, and what is wrong with those that the store cannot take.

    An array of float32, C-contiguous, an Arrow array of fixed-size lists of float32 and such a tensor of this machine
    are taken over their own memory. A row at fault is of any numbers.

    Raises:
        DataError: they are no vectors at all: a single one, or a text.
    """
    vectors = _open_arrow(vectors)
    plain = _find_plain(vectors)
    matrix, faults = _read_rows(vectors, store) if plain is None else _check_lengths(plain, store)
    return matrix, faults | _find_faults(matrix, store.metric, faults)


def read_queries(vectors: Vectors, store: Store) -> Matrix:
    """The vectors to search for, as one array with a row for each.

    Raises:
        DataError: they are no vectors, or one of them is nothing to search for; says which, and why.
    """
    matrix, faults = read_vectors(vectors, store)
    for number in sorted(faults):
        raise DataError(faults[number], where=f"vectors[{number}]")
    return matrix


def _find_plain(vectors: Any) -> NDArray[Any] | None:
    """The vectors as a numeric array of two axes, over their own memory where it can be; None where they are ragged."""
    array = _to_array(vectors)
    if array is None:
        return None
    if array.ndim == 1 and len(array) and array.dtype.kind in NUMBERS:
        raise DataError("expected vectors, got a single one", where="vectors", hint="put it into a list: `[vector]`")
    return array if array.ndim == 2 and array.dtype.kind in NUMBERS else None


def _open_arrow(vectors: Any) -> Any:
    """An Arrow column of lists of one length as an array over its memory, another one as a list; else what it is.

    Raises:
        DataError: they are no vectors at all.
    """
    if isinstance(vectors, (str, bytes, Mapping)) or not hasattr(vectors, "__len__") or not getattr(vectors, "ndim", 1):
        raise DataError(f"expected vectors, got {describe_value(vectors)}", where="vectors")
    pa = sys.modules.get("pyarrow")
    if pa is None or not isinstance(vectors, (pa.Array, pa.ChunkedArray)):
        return vectors
    column = vectors
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    if not pa.types.is_fixed_size_list(column.type) or column.null_count:
        return column.to_pylist()
    values = column.flatten()
    if values.null_count or not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return column.to_pylist()
    return values.to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)


def _to_array(value: Any) -> NDArray[Any] | None:
    """A value as an array, over its own memory where it can be; None where it cannot be one."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return np.asarray(tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(torch.float32))
    if value is None or isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # of different lengths; a list of tensors
        return None


def _check_lengths(plain: NDArray[Any], store: Store) -> tuple[Matrix, Faults]:
    """The array as float32, and a fault for every row where the length is another."""
    count, length = plain.shape
    if length == store.dimensions:
        with np.errstate(over="ignore"):  # it is found to be infinite
            return np.ascontiguousarray(plain, dtype=np.float32), {}
    return _blank(count, store), dict.fromkeys(range(count), _say_length(length, store))


def _read_rows(vectors: Any, store: Store) -> tuple[Matrix, Faults]:
    """Each vector by itself, where one of them is missing, of another length, or not of numbers."""
    matrix, faults = _blank(len(vectors), store), Faults()
    for number, vector in enumerate(vectors):
        row = _to_array(vector)
        if row is None or row.ndim != 1 or (len(row) and row.dtype.kind not in NUMBERS):
            faults[number] = f"expected a vector of numbers, got {_describe(vector)}"
        elif len(row) != store.dimensions:
            faults[number] = _say_length(len(row), store)
        else:
            with np.errstate(over="ignore"):
                matrix[number] = row
    return matrix, faults


def _find_faults(matrix: Matrix, metric: Metric, known: Faults) -> Faults:
    """What is wrong with rows of the right length, by their squares' sums: one pass, and no array of their size."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", matrix, matrix)
    odd = ~np.isfinite(squares)
    if metric == "cosine":
        odd |= squares == 0
    faults = Faults()
    for number in np.flatnonzero(odd).tolist():
        if number not in known:
            faults[number] = _say_fault(matrix[number])
    return faults


def _say_fault(vector: Matrix) -> str:
    if np.isnan(vector).any():
        return f"the vector has NaN at {int(np.flatnonzero(np.isnan(vector))[0])}"
    if np.isinf(vector).any():
        place = int(np.flatnonzero(np.isinf(vector))[0])
        return f"the vector has a number at {place} that is infinite in float32"
    if vector.any():
        return "the vector's length is beyond what float32 holds"
    return "the vector is all zeros, which has no direction: the metric is `cosine`"


def _say_length(length: int, store: Store) -> str:
    if not length:
        return f"the vector is empty, the store takes {store.dimensions} numbers"
    return f"the vector has {length} number{'s' * (length > 1)}, the store takes {store.dimensions}"


def _describe(vector: Any) -> str:
    """What a vector is instead: the first of its values that is no number, else the whole."""
    values = vector.tolist() if isinstance(vector, np.ndarray) else vector
    if isinstance(values, (list, tuple)):
        for place, value in enumerate(values):
            if not isinstance(value, (int, float)):
                return f"{describe_value(value)} at {place}"
    return describe_value(values)


def _blank(count: int, store: Store) -> Matrix:
    return np.ones((count, store.dimensions), dtype=np.float32)
