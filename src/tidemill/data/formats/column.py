"""One column of rows as an array, where what holds them has it as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def read_array(rows: Any, name: str, places: range) -> Any | None:
    """One column of the rows at `places` as an array `(places, …)`, over what holds them where one piece does.

    None where they are no arrays there, or are none of one shape.
    """
    read = getattr(rows, "read_array", None)
    return None if read is None else read(name, places)


def join_arrays(arrays: Sequence[Any]) -> Any:
    """One array of several, one after the other: the one itself where there is just that."""
    if len(arrays) == 1:
        return arrays[0]
    import numpy as np

    return np.concatenate(arrays)
