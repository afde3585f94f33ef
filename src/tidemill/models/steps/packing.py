"""What goes into a call and comes out of one as JSON: a record, and what a user's function gave."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from tidemill.config.wording.words import describe_value, name_class
from tidemill.data.records.lost import find_lost, iter_places
from tidemill.errors import DataError
from tidemill.protocols import Record

JSON = orjson.OPT_SERIALIZE_NUMPY
"""How a result is written: dates, UUIDs, enumerations and dataclasses as orjson has them, arrays as lists. Decimals,
durations (ISO 8601) and paths are texts."""


def pack_record(record: Record) -> bytes:
    """What the call is of: the record as JSON, its keys in order; bytes by their digest.

    Raises:
        DataError: the record is not JSON; names the place in it.
    """
    try:
        return orjson.dumps(record, default=_digest_bytes, option=JSON | orjson.OPT_SORT_KEYS)
    except TypeError as error:
        place, found = _find_deep(error) or _find_misfit(record, _digest_bytes)
    raise DataError(
        f"a call is told from others by its record as JSON, and {place} is {found}",
        hint="name the columns that the function needs: columns: […]",
    )


def pack_result(value: Any) -> bytes:
    """What a function gave as JSON.

    Raises:
        DataError: it is not JSON, holds NaN or infinity, at any depth, or itself; names the place in it.
    """
    try:
        body = orjson.dumps(value, default=_dump_model, option=JSON)
    except TypeError as error:
        place, found = _find_deep(error) or _find_misfit(value, _dump_model)
    else:
        lost = find_lost(value, body, _dump_model)
        if lost is None:
            return body
        place, found = lost
    raise DataError(
        f"the function's result is not JSON: {place} is {found}", hint="return texts, numbers, lists, dicts"
    )


def _digest_bytes(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"blake2b": blake2b(value, digest_size=16).hexdigest()}
    return _dump_model(value)


def _dump_model(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, timedelta):
        return to_jsonable_python(value)
    if isinstance(value, (Decimal, PurePath)):
        return str(value)
    raise TypeError


def _find_deep(error: TypeError) -> tuple[str, str] | None:
    """What `_find_misfit` has of a value that orjson follows no further, as one that holds itself; else None."""
    return ("$", "nested too deep, or holds itself") if "Recursion limit" in str(error) else None


def _find_misfit(value: Any, default: Any, path: str = "$") -> tuple[str, str]:
    """The place of the first thing in `value` that JSON cannot hold, and what it is."""
    for place, item in iter_places(value, path):
        try:
            orjson.dumps(item, default=default, option=JSON)
        except TypeError:
            return _find_misfit(item, default, place)
    if isinstance(value, dict) and (key := next((key for key in value if not isinstance(key, str)), None)) is not None:
        return path, f"a dict with the key {key!r:.40}"
    return path, _describe(value)


def _describe(value: Any) -> str:
    return describe_value(value) if isinstance(value, (str, int, float)) else name_class(value)
