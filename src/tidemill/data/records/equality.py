"""Values that are equal, as one value: what keys are compared by.

Two values are one where Python's `==` says so: 1, 1.0, True and Decimal("1.00"); 0.0 and -0.0; 12:00 at UTC and 14:00
two hours east of it. Further, `nan` is itself, an enum is its value, a UUID its text, a tuple the list of its items, a
scalar of NumPy its Python value, and a value of a derived class that of the class it derives from.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import math
import sys
import uuid
from collections.abc import Callable, Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from itertools import chain
from typing import Any

from pydantic import BaseModel

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_MOST_DIGITS = 4000
"""Digits of a Decimal that is compared with whole numbers, at most: Python writes whole numbers of up to 4,300."""

_TIMES = (datetime.date, datetime.timedelta)
_COUNTED_FROM = datetime.date(1, 1, 2)
"""Where a time of day with a zone is counted from: a day to either side is left."""


def unify(value: Any) -> Any:
    """The one value that stands for all that equal `value`: its line, as `render_line` has it, tells it from others.

    What holds only itself is given back as it is; nothing is changed in place.
    """
    kind = type(value)
    if kind in _ALONE:
        return value
    way = _WAYS.get(kind)
    return _unify_object(value) if way is None else way(value)


def from_numpy(value: Any) -> Any:
    """The Python value of a scalar of NumPy, where it has one of the same value; any other value as it is."""
    numpy: Any = sys.modules.get("numpy")  # only what is loaded can have made one
    if numpy is None or not isinstance(value, numpy.generic):
        return value
    if value.dtype.kind in "Mm":
        return _from_numpy_time(value)
    plain = value.item()
    if type(plain) is not type(value):
        return plain
    is_float = isinstance(value, numpy.floating) and float(value) == value  # a long double gives itself
    return float(value) if is_float else value


def _from_numpy_time(value: Any) -> Any:
    """A moment or a duration of NumPy as one of Python: where it is finer or further off than these are, as it is."""
    plain = value.item()
    if isinstance(plain, _TIMES):
        return plain
    try:
        rounded = value.astype(f"{value.dtype.kind}8[us]")  # of nanoseconds `item` gives the number alone
        is_same = bool(rounded == value)
    except TypeError:  # months have no length
        return value
    plain = rounded.item()
    return plain if is_same and isinstance(plain, _TIMES) else value


def _unify_float(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _unify_decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return math.nan if value.is_nan() else float(value)
    if not value:
        return 0
    if value.adjusted() < _MOST_DIGITS and value == value.to_integral_value():
        return int(value)
    near = float(value)
    return near if near == value else value.normalize(_EXACT)


def _unify_complex(value: complex) -> Any:
    return unify(value.real) if value.imag == 0 else complex(value.real + 0.0, value.imag + 0.0)  # -0.0 is 0.0


def _unify_datetime(value: datetime.datetime) -> datetime.datetime:
    if value != value:  # NaT, the `nan` of pandas
        return value
    if type(value) is not datetime.datetime and not getattr(value, "nanosecond", 0):
        value = datetime.datetime.combine(value.date(), value.timetz())
    if value.utcoffset() is None:
        return value
    try:
        return value.astimezone(datetime.UTC)
    except OverflowError:  # within hours of the first or the last moment there is
        return value


def _unify_time(value: datetime.time) -> datetime.time | datetime.datetime:
    if value.utcoffset() is None:
        return value
    moved = datetime.datetime.combine(_COUNTED_FROM, value).astimezone(datetime.UTC)
    return moved.timetz() if moved.date() == _COUNTED_FROM else moved


def _unify_duration(value: datetime.timedelta) -> datetime.timedelta:
    if type(value) is datetime.timedelta or getattr(value, "nanoseconds", 0) != 0 or value != value:
        return value
    return datetime.timedelta(value.days, value.seconds, value.microseconds)


def _unify_list(values: list[Any]) -> list[Any]:
    kinds = set(map(type, values))
    if kinds <= _ALONE or (kinds == _FLOAT and not any(map(float.is_integer, values))):
        return values
    if kinds == _FLOAT:
        return [int(each) if each.is_integer() else each for each in values]
    return [each if type(each) in _ALONE else unify(each) for each in values]


def _unify_tuple(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(unify, values))


def _unify_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    if _ALONE.issuperset(map(type, chain(value, value.values()))):
        return value
    return {
        (key if type(key) is str else unify(key)): each if type(each) in _ALONE else unify(each)
        for key, each in value.items()
    }


def _unify_set(values: Any) -> frozenset[Any]:
    return frozenset(map(unify, values))


def _unify_fields(value: Any, fields: dict[str, Any]) -> Any:
    """A copy of an object with other values in its fields, where one of them is another."""
    unified = {name: unify(each) for name, each in fields.items()}
    if all(unified[name] is each for name, each in fields.items()):
        return value
    if isinstance(value, BaseModel):
        return value.model_copy(update=unified)
    copied = copy.copy(value)
    for name, each in unified.items():
        object.__setattr__(copied, name, each)
    return copied


def _unify_object(value: Any) -> Any:
    """A value of no kind that is named below: of NumPy, of a class derived from one of them, or of one of its own."""
    plain = from_numpy(value)
    if plain is not value:
        return unify(plain)
    if isinstance(value, enum.Enum):
        return unify(value.value)
    if isinstance(value, BaseModel):
        return _unify_fields(value, {**vars(value), **(value.__pydantic_extra__ or {})})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _unify_fields(value, {each.name: getattr(value, each.name) for each in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return _unify_dict(dict(value))
    for base, take in _BASES:
        if isinstance(value, base):
            return take(value)
    return value


_ALONE = frozenset({int, str, bytes, datetime.date, type(None)})
"""Kinds of which no two values are equal but are two."""

_FLOAT = {float}

_WAYS: dict[type, Callable[[Any], Any]] = {
    float: _unify_float,
    bool: int,
    list: _unify_list,
    tuple: _unify_tuple,
    dict: _unify_dict,
    set: _unify_set,
    frozenset: _unify_set,
    Decimal: _unify_decimal,
    complex: _unify_complex,
    datetime.datetime: _unify_datetime,
    datetime.time: _unify_time,
    datetime.timedelta: _unify_duration,
    uuid.UUID: str,
}
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, lambda value: _unify_float(float.__float__(value))),
    (list, lambda value: _unify_list(list(value))),
    (tuple, _unify_tuple),
    (set, _unify_set),
    (frozenset, _unify_set),
    (complex, _unify_complex),
    (Decimal, _unify_decimal),
    (datetime.timedelta, _unify_duration),
    (datetime.datetime, _unify_datetime),
    (datetime.date, lambda value: datetime.date(value.year, value.month, value.day)),
)
"""What a value of a derived class is taken for, and how."""
