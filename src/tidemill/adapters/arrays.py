"""Tensors over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tidemill.adapters.column import Column
from tidemill.data.files.mapping import PrivateMapping


def to_tensor(array: np.ndarray[Any, Any], column: Column) -> torch.Tensor:
    """A tensor over the memory of `array`; one of another byte order, or that may not be written, is copied.

    An array over a file that Tidemill has mapped is not: what is written to the tensor stays in this process.

    Raises:
        DataError: it holds what no tensor holds: dates, text, objects.
    """
    kind = array.dtype.kind
    if kind in "mM":
        hint = 'make it a number in a step (`.astype("int64")`), or drop the column'
        raise column.error(0, f"expected numbers, got an array of {array.dtype}", hint=hint)
    if kind not in "biufc":
        raise column.error(0, f"expected numbers, got an array of {array.dtype}", hint="drop the column")
    if not array.flags.writeable and _is_private(array):
        array = array.view()
        array.flags.writeable = True
    flags = array.flags
    if not (flags.writeable and flags.aligned and array.dtype.isnative) or min(array.strides, default=0) < 0:
        array = array.astype(array.dtype.newbyteorder("="), copy=True)
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise column.error(0, str(error), hint="make it float32 in a step") from error


def _is_private(array: np.ndarray[Any, Any]) -> bool:
    """Whether it lies over a file, mapped so that nobody else sees what is written there."""
    holder: Any = array
    while isinstance(holder, np.ndarray):
        holder = holder.base
    return isinstance(holder, PrivateMapping)
