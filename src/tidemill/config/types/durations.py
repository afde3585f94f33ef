"""Lengths of time as people write them: `90s`, `45m`, `1h30m`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from tidemill.config.subschemas import Form
from tidemill.config.wording.words import Says, describe_value

_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|[dhms])\s*)+", re.ASCII)
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[dhms])", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)


def parse_duration(value: Any) -> Any:
    """The seconds that a text with units or a `timedelta` stands for; anything else as it is, for a number's rules.

    >>> parse_duration("1h30m")
    5400.0
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    seconds = find_duration(value)
    if seconds is None:
        raise PydanticCustomError(
            "duration",
            "expected a duration, got {got}",
            {"got": describe_value(value), "hint": "seconds, or with units: `90s`, `45m`, `2h`, `1h30m`, `2d`"},
        )
    return seconds


def find_duration(text: str) -> float | None:
    """The seconds that a text with units stands for, None when it is none.

    >>> find_duration("1.5s"), find_duration("1.5")
    (1.5, None)
    """
    text = text.strip().lower()
    if not _WHOLE.fullmatch(text):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PIECE.findall(text))


_TEXT = {"type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*([mM][sS]|[dhmsDHMS])\s*)+$"}

Duration = Annotated[float, BeforeValidator(parse_duration), Says("a duration (seconds, or 45m, 2h)"), Form(_TEXT)]
"""Seconds: given as a number, as a text with units, or as a `timedelta`."""


def show_duration(seconds: float) -> str:
    """Whole seconds in their two largest units.

    >>> show_duration(5_400)
    '1h 30m'
    """
    hours, minutes = divmod(int(seconds) // 60, 60)
    whole = int(seconds)
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {whole % 60:02}s" if minutes else f"{whole}s"
