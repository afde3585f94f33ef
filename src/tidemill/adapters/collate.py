"""`tidemill.collate`: what a PyTorch loader calls to make one batch of tensors out of records."""

from __future__ import annotations

from typing import Any

from tidemill.packages import missing_package


def collate(batch: Any) -> dict[str, Any]:
    """The batch as a dict of columns: tensors, with the records along the first axis, and lists of what has no tensor.

    As a loader's `collate_fn` it takes the list of records; with `batch_size=None`, the batches that a stream's
    `batch(…, form="arrow")` or `form="numpy"` gives, and makes tensors over their own memory: numbers in Arrow columns
    without nulls and NumPy arrays are not copied, where their memory may be written.

    Integers become int64, other Python numbers the default dtype of torch (float32 unless it was set), booleans bool;
    what NumPy, torch or Arrow hold keeps its dtype. Lists of one length and arrays of one shape are stacked:
    `(batch, …)`. Columns of dicts become dicts of columns. Strings, bytes and lists that hold any or hold dicts stay
    as they are, in a list.

    Args:
        batch: a list of dicts, a dict of columns, or an Arrow table or record batch.

    Raises:
        DataError: a value that has no tensor (None, a date, an object), or lists or arrays that cannot be stacked;
            names the column, the record and what to do.
        ResourceError: torch is not installed.
    """
    try:
        from tidemill.adapters import tensors
    except ModuleNotFoundError as error:
        raise missing_package("collate", "torch", "torch", error) from error
    return tensors.collate_batch(batch)
