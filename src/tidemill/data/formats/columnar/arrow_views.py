"""NumPy's view of Arrow's lists of one length: vectors where they lie."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def view_vectors(array: Any) -> np.ndarray[Any, Any] | None:
    """Lists of so many numbers each as `(lists, numbers)` over Arrow's own memory, not to be written.

    None of anything else, of lists or numbers that may be null, and where NumPy is not installed.
    """
    import pyarrow as pa

    shape = [len(array)]
    while pa.types.is_fixed_size_list(array.type) and not array.null_count:
        shape.append(array.type.list_size)
        array = array.flatten()
    kind = array.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if len(shape) == 1 or not is_number or array.null_count or len(array) != math.prod(shape):
        return None
    try:
        numbers: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=True)
    except ImportError:
        return None
    return numbers.reshape(shape)
