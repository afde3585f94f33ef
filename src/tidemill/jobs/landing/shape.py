"""What a record must be to land."""

from __future__ import annotations

from typing import Any

from tidemill.errors import DataError


def find_no_record(value: Any) -> DataError | None:
    """Why `value` is not a record: a dict whose keys are strings."""
    if not isinstance(value, dict):
        return DataError(f"expected a record (a dict), got {name_kind(value)}")
    if set(map(type, value)) <= {str}:
        return None
    other = next((key for key in value if not isinstance(key, str)), None)
    return None if other is None else DataError(f"expected column names that are strings, got {other!r:.80}")


def name_kind(value: Any) -> str:
    """What a value is, for an error."""
    return "None" if value is None else f"a {type(value).__name__}"
