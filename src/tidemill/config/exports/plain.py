"""One value as plain data: what JSON and YAML have."""

from __future__ import annotations

import enum
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from pydantic_core import to_jsonable_python


def to_plain(value: Any) -> Any:
    """A value that holds no others as JSON has it: enums by value, paths as text, durations as `90s`.

    Raises:
        PydanticSerializationError: it has no such form.
    """
    if isinstance(value, enum.Enum):
        return to_plain(value.value) if isinstance(value.value, (str, int, float, bool)) else value.name
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)  # of NumPy's numbers and the like, too
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, timedelta):
        return _to_seconds(value)
    return to_jsonable_python(value)


def _to_seconds(value: timedelta) -> str:
    """Seconds with their unit, as a configuration takes them; ISO 8601 where they are negative."""
    whole, rest = divmod(value, timedelta(seconds=1))
    if whole < 0:
        return str(to_jsonable_python(value))
    fraction = f".{rest // timedelta(microseconds=1):06}".rstrip("0") if rest else ""
    return f"{whole}{fraction}s"
