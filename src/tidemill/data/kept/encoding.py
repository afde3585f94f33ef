"""Records as bytes on disk, and back: any object that pickles, as it was."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

from tidemill.data.kept.reducing import Reducers
from tidemill.errors import DataError


def make_encoder() -> Callable[[Any], bytes]:
    """A function that gives a value's bytes; equal values have bytes of one length, in any process.

    They have the same bytes, too, where they hold no set and no object of a class whose own pickle differs.

    Raises (the function): DataError: the value cannot be pickled.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    # Without a memo: with it, bytes depend on which equal texts of a record are one object.
    pickler.fast = True
    pickler.dispatch_table = Reducers()

    def encode(value: Any) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        try:
            pickler.dump(value)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
            hint = "make it plain values in a step in front"
            raise DataError(f"the record cannot be kept on disk: {error}", hint=hint) from None
        return buffer.getvalue()

    return encode


decode: Callable[[bytes], Any] = pickle.loads
"""The value of bytes; they must be this library's own."""
