"""Values that JSON lacks, written in it so that they come back as they were.

A value of such a type is an object of one key that names the type: `{"$float": "nan"}`, `{"$tuple": [1, 2]}`. A dict
that could be taken for one, or whose keys are not all text, is written as its items under `$dict`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_MARK = "$"


def to_exact_json(value: Any) -> Any:
    """`value` in JSON's own types.

    Raises:
        TypeError: some value in it is of another type than those named here, a subclass of one included.
        RecursionError: it is nested too deep.
    """
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return value if value.isascii() or is_utf8(value) else {"$str": _pack(value.encode("utf-8", "surrogatepass"))}
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [to_exact_json(item) for item in value]
    if kind is dict:
        if all(type(key) is str and not key.startswith(_MARK) and is_utf8(key) for key in value):
            return {key: to_exact_json(item) for key, item in value.items()}
        return {"$dict": [[to_exact_json(key), to_exact_json(item)] for key, item in value.items()]}
    if kind not in _WRITERS:
        raise TypeError(f"a {kind.__name__} has no exact form in JSON")
    return {_MARK + kind.__name__: _WRITERS[kind](value)}


def from_exact_json(value: Any) -> Any:
    """What `to_exact_json` was given.

    Raises:
        ValueError: `value` is not what it gives.
    """
    if type(value) is list:
        return [from_exact_json(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key.startswith(_MARK):
            return _read(key, item)
    return {key: from_exact_json(item) for key, item in value.items()}


def _read(mark: str, item: Any) -> Any:
    try:
        return _READERS[mark](item)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"`{mark}` is not what tidemill writes: {type(error).__name__}: {error}") from error


def is_utf8(text: str) -> bool:
    """Whether it can be written as UTF-8: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pack(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _write_items(value: Any) -> list[Any]:
    return [to_exact_json(item) for item in value]


def _read_items(item: Any) -> list[Any]:
    return [from_exact_json(each) for each in item]


_WRITERS: dict[type, Callable[[Any], Any]] = {
    tuple: _write_items,
    set: _write_items,
    frozenset: _write_items,
    bytes: _pack,
    bytearray: _pack,
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: lambda value: [value.days, value.seconds, value.microseconds],
    Decimal: str,
    UUID: str,
    complex: lambda value: [repr(value.real), repr(value.imag)],
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "$str": lambda item: base64.b64decode(item).decode("utf-8", "surrogatepass"),
    "$float": float,
    "$dict": lambda item: {from_exact_json(key): from_exact_json(each) for key, each in item},
    "$tuple": lambda item: tuple(_read_items(item)),
    "$set": lambda item: set(_read_items(item)),
    "$frozenset": lambda item: frozenset(_read_items(item)),
    "$bytes": base64.b64decode,
    "$bytearray": lambda item: bytearray(base64.b64decode(item)),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda item: timedelta(*item),
    "$Decimal": Decimal,
    "$UUID": UUID,
    "$complex": lambda item: complex(float(item[0]), float(item[1])),
}
