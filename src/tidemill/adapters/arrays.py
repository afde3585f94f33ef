"""Tensors over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tidemill.adapters.column import Column


def to_tensor(array: np.ndarray[Any, Any], column: Column) -> torch.Tensor:
    """A tensor over the memory of `array`; a read-only one, or one of another byte order, is copied.

    Raises:
        DataError: it holds what no tensor holds: dates, text, objects.
    """
    kind = array.dtype.kind
    if kind in "mM":
        hint = 'make it a number in a step (`.astype("int64")`), or drop the column'
        raise column.error(0, f"expected numbers, got an array of {array.dtype}", hint=hint)
    if kind not in "biufc":
        raise column.error(0, f"expected numbers, got an array of {array.dtype}", hint="drop the column")
    if not array.flags.writeable or not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = array.astype(array.dtype.newbyteorder("="), copy=True)
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise column.error(0, str(error), hint="make it float32 in a step") from error
