"""Plain YAML scalars by the core schema of YAML 1.2.2, section 10.3.2.

`no`, `on` and `12:30:00` are texts, `1e-4` is a number, `010` is ten: what PyYAML's YAML 1.1 rules get wrong.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DIGIT = re.compile(r"[0-9]")
_NOT_ZERO = re.compile(r"[^eE]*[1-9]")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_BASES = {"0o": 8, "0x": 16}

MAX_DIGITS = 4000
"""A longer integer stays text: Python refuses to convert more than 4,300 digits."""

TAG = "tag:yaml.org,2002:"


def parse_scalar(text: str) -> Scalar:
    """The value of a plain scalar.

    >>> [parse_scalar(text) for text in ("no", "1e-4", "010", "12:30", "~")]
    ['no', 0.0001, 10, '12:30', None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        base = _BASES.get(text[:2])
        return int(text[2:], base) if base else int(text) if len(text) <= MAX_DIGITS else text
    if _FLOAT.fullmatch(text):
        return parse_float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def parse_float(text: str) -> float | str:
    """The number a text is; the text itself where the nearest float is infinite, zero or whole, and the number is not.

    A whole number that no float has stays text, too: what takes integers reads all of its digits.

    >>> [parse_float(text) for text in ("1e-4", "1e400", "1e-400", "9007199254740993.0", "1.00000000000000000001")]
    [0.0001, '1e400', '1e-400', '9007199254740993.0', '1.00000000000000000001']
    """
    value = float(text)
    if not _DIGIT.search(text) or (math.isfinite(value) and not value.is_integer()):
        return value
    if not value:
        return text if _NOT_ZERO.match(text) else value
    return value if math.isfinite(value) and Decimal(repr(value)) == Decimal(text) else text


def parse_tagged(text: str, tag: str) -> Any:
    """The value of a scalar with a core tag (`!!int "3"`).

    Raises:
        ValueError: the text is no such value, or the tag is not of the core schema.
    """
    kind = tag.removeprefix(TAG)
    if kind in ("str", "!"):
        return text
    value = parse_scalar(text)
    types: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
    if kind not in types:
        raise ValueError("an unknown tag")
    if not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ValueError(f"a text that is no {kind}, as its tag says")
    return float(value) if kind == "float" and isinstance(value, (int, float)) else value
