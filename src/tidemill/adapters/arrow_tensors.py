"""Tensors over Arrow columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.utils.dlpack

from tidemill.adapters.arrays import to_tensor
from tidemill.adapters.column import Column
from tidemill.adapters.tensors import collate_values, ragged_error


def collate_arrow(column: Any, at: Column) -> Any:
    """What `tidemill.collate` makes of an Arrow column: over its own memory where it is numbers without nulls.

    What Arrow says is not to be written, as a file that is mapped or bytes that were received, is copied.
    """
    array = _as_one(column)
    kind = array.type
    if array.null_count:
        number = pc.index(array.is_null(), True).as_py()
        hint = "fill it in a step (`with_columns`), filter such records out, or drop the column"
        raise at.error(number, "expected a value, got None", hint=hint)
    if pa.types.is_null(kind):  # what lists hold that are all empty
        return torch.empty(0)
    if pa.types.is_boolean(kind):
        return to_tensor(array.to_numpy(zero_copy_only=False), at)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        data = array.buffers()[-1]
        if data is None or data.is_mutable:
            return torch.utils.dlpack.from_dlpack(array)
        return to_tensor(array.to_numpy(), at)  # a copy: to write into a file that is mapped would end the process
    if pa.types.is_struct(kind):
        fields = zip(kind, array.flatten(), strict=True)
        return {field.name: collate_arrow(values, at.inside(field.name)) for field, values in fields}
    if _is_list(kind):
        return _collate_lists(array, at)
    if pa.types.is_temporal(kind):
        hint = "cast it to an integer or a string, or drop the column"
        raise at.error(0, f"expected numbers, got the Arrow type {kind}", hint=hint)
    return collate_values(array.to_pylist(), at)


def _collate_lists(array: Any, at: Column) -> Any:
    """Lists of one length as one tensor; lists of what has no tensor as they are."""
    leaf = array.type.value_type
    while _is_list(leaf):
        leaf = leaf.value_type
    if not (pa.types.is_primitive(leaf) or pa.types.is_null(leaf)):
        return collate_values(array.to_pylist(), at)
    lengths: list[int] = pc.list_value_length(array).to_pylist()
    length = lengths[0] if lengths else 0
    if lengths.count(length) != len(lengths):
        number = next(number for number, each in enumerate(lengths) if each != length)
        raise ragged_error(at, number, length, lengths[number])
    values = collate_arrow(array.flatten(), at.within(at.per_record * max(1, length)))
    return values.reshape(len(array), length, *values.shape[1:])


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _as_one(column: Any) -> Any:
    """The column as one array of its own values; several chunks are copied together."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.storage if isinstance(column, pa.ExtensionArray) else column
