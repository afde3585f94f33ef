"""Counts that a profiler is given."""

from __future__ import annotations

from operator import index
from typing import Any

from tidemill.errors import ConfigError


def check_count(value: Any, wanted: str, *, hint: str = "") -> int:
    """`value` as the whole number of 0 or more that it is, NumPy's among them; `wanted` says of what.

    Raises:
        ConfigError: it is none.
    """
    try:
        count = -1 if isinstance(value, bool) else index(value)
    except TypeError:
        count = -1
    if count < 0:
        plain = value is None or isinstance(value, int | float | str)
        got = f"{value!r}" if plain else f"a {type(value).__name__}"
        raise ConfigError(f"expected {wanted}, got {got}", hint=hint) from None
    return count
