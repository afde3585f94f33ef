"""Sizes as people write them: `512MB`, `1.5GiB`.

Pydantic's own `ByteSize` takes `true` for one byte, `0.3B` for none, `5bit` for none and `512M` for megabytes, which
elsewhere are mebibytes.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidemill.config.wording.words import Says, describe_value

_UNITS = {"b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgtp", 1)
    for unit, base in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_WORDS = "a size (bytes, or 512MB, 1.5GiB)"
_PATTERN = r"^\s*\d+(_\d+)*(\.\d+)?\s*([bB]|[kmgtp][bB]|[KMGTP]B|[kmgtpKMGTP][iI][bB])?\s*$"
_SIZE = re.compile(r"(?ai)(\d+(?:_\d+)*(?:\.\d+)?)\s*([a-z]+)")


def parse_size(value: Any) -> Any:
    """The bytes that a text with a unit stands for; anything else as it is, for an integer's rules.

    The case of a unit does not count, but that `Mb` and the like, which are bits, are refused.

    >>> parse_size("1.5GiB")
    1610612736
    """
    if isinstance(value, bool):
        raise _error(value, "")
    if not isinstance(value, str) or not (match := _SIZE.fullmatch(value.strip())):
        return value
    number, unit = Decimal(match[1].replace("_", "")), match[2]
    if unit.lower() not in _UNITS or re.fullmatch("[KMGTP]b", unit):
        raise _error(value, _find_hint(match[1], unit))
    size = number * _UNITS[unit.lower()]
    if size != int(size):
        raise _error(value, "a byte has no parts")
    return int(size)


def _find_hint(number: str, unit: str) -> str:
    letter = unit[:1].upper()
    if letter in "KMGTP":
        return f"`{number}{letter}B` counts 1000s, `{number}{letter}iB` 1024s"
    return "units: `kB`, `MB`, `GiB` and so on"


def _error(value: Any, hint: str) -> PydanticCustomError:
    context = {"words": _WORDS, "got": describe_value(value), "hint": hint}
    return PydanticCustomError("size", "expected {words}, got {got}", context)


ByteSize = Annotated[
    int,
    Ge(0),
    BeforeValidator(parse_size),
    Says(_WORDS),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _PATTERN}]}),
]
"""A number of bytes: given as one, or as a text with a unit; `kB` is 1,000 and `KiB` 1,024."""
