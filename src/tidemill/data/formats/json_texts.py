"""Python values as JSON texts, from which each number is read again as it was."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from tidemill.data.records.exact import to_exact_json
from tidemill.data.records.lost import find_lost

LINE = orjson.OPT_APPEND_NEWLINE
LINE_OF_ARRAYS = LINE | orjson.OPT_SERIALIZE_NUMPY


def render_line(value: Any, option: int = LINE) -> bytes:
    """The value as one line of JSON, with its end.

    Args:
        option: `LINE`, or `LINE_OF_ARRAYS` where NumPy's arrays are lists.

    Raises:
        ValueError: there is NaN or infinity in it, which orjson writes as null; names the place.
        TypeError: something else in it has no form in JSON.
    """
    try:
        line = orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        exact = _find_exact_line(value)
        if exact is None:
            raise
        return exact
    # From behind it is looked for in half the time (0.1 us in 400 bytes: docs/lab-notes.md).
    if line.rfind(b"null") >= 0 and (lost := find_lost(value, line)):
        raise ValueError(f"{lost[0]} is {lost[1]}, and JSON has no such number")
    return line


def _find_exact_line(value: Any) -> bytes | None:
    """The line of what orjson refuses for an integer over 64 bits alone, or its depth; None of anything else."""
    try:
        if to_exact_json(value) != value:
            return None
        return msgspec.json.encode(value) + b"\n"
    except (TypeError, ValueError, RecursionError):
        return None
