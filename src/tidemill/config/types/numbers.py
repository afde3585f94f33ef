"""Whole numbers as JSON has them on its way to an endpoint and into a run folder."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError

from tidemill.config.wording.words import describe_value


def check_int64(value: Any) -> Any:
    """Refuse a whole number beyond 64 bits: it can neither be sent nor stored; a field's validator."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        message = "expected an integer of at most 64 bits, got {value}"
        raise PydanticCustomError("int64", message, {"value": describe_value(value)})
    return value
