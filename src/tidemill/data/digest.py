"""A digest of records and their order: that of their lines, as `data/records/rendering.py` writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from tidemill.data.iteration import STATE_VERSION
from tidemill.data.records.rendering import NoFormError, render_line
from tidemill.errors import DataError


def digest_records(records: Iterable[Any]) -> str:
    """A hex digest (SHA-256) of `records` in their order.

    Raises:
        DataError: one of them holds what has no form here; names its number, counted from 0.
    """
    digest = hashlib.sha256(b"tidemill %d\n" % STATE_VERSION)
    for number, record in enumerate(records):
        try:
            digest.update(render_line(record))
        except (NoFormError, RecursionError) as error:
            kind = error.kind if isinstance(error, NoFormError) else "value within itself"
            hint = "leave its column out (`drop`), or make it a plain value in a step"
            raise DataError(f"expected plain values, got a {kind}", where=f"record {number:,}", hint=hint) from None
    return digest.hexdigest()
