"""What a given value becomes, kind by kind, before Pydantic checks it; the table is in `coercion/table.py`.

A text stays one, in a form that Pydantic takes: the union around it still sees that the value was given as a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from numbers import Number
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError, PydanticKnownError, ValidationError

from tidemill.config.text.scalars import MAX_DIGITS
from tidemill.config.types.durations import find_duration
from tidemill.config.types.unique import refuse_repeated
from tidemill.config.wording.words import describe_value

Convert = Callable[[Any], Any]

EXACT_INTEGERS = 2**53
"""Up to here a float holds every whole number (IEEE 754, binary64)."""

_BASED = re.compile(r"(?ai)[-+]?0(?:x[0-9a-f]+(?:_[0-9a-f]+)*|o[0-7]+(?:_[0-7]+)*|b[01]+(?:_[01]+)*)")
_DIGITS = r"\d+(?:_\d+)*"
_DECIMAL = re.compile(rf"(?ai)[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:e[-+]?\d{{1,9}})?")
_NUMBER = re.compile(r"\s*[-+]?\d+\.?\d*\s*", re.ASCII)
_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "0"), "false"),
}


def to_int(value: Any) -> Any:
    """A whole number, whichever way it is written; a float only up to where it is exact."""
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    if isinstance(value, float) and math.isfinite(value) and abs(value) > EXACT_INTEGERS:
        raise PydanticKnownError("int_from_float")
    number = _read_number(value) if isinstance(value, str) else None
    if number is None or number.adjusted() >= MAX_DIGITS or number != number.to_integral_value():
        return value
    return str(int(number))


def to_int64(value: Any) -> Any:
    """A whole number of at most 64 bits, which JSON, databases and counters hold."""
    number = to_int(value)
    whole = _read_number(number) if isinstance(number, (str, int)) else None
    if whole is not None and not -(2**63) <= whole < 2**63:
        message = "expected an integer of at most 64 bits, got {value}"
        raise PydanticCustomError("int64", message, {"value": describe_value(value)})
    return number


def to_float(value: Any) -> Any:
    """A number; a whole one only where its digits stay."""
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    if not isinstance(value, (str, int, Decimal)) or (isinstance(value, int) and abs(value) <= EXACT_INTEGERS):
        return value
    number = _read_number(value)
    if number is None or not number.is_finite():
        return value
    near = float(number)
    is_whole = number == number.to_integral_value()
    if math.isinf(near) or (near == 0 and number != 0) or (is_whole and Decimal(repr(near)) != number):
        raise PydanticKnownError("float_parsing" if isinstance(value, str) else "float_type")
    return str(number) if isinstance(value, str) else value


def _read_number(given: str | int | Decimal) -> Decimal | None:
    """The number itself, or the one a text is in YAML 1.2, TOML or Python; None when it is none, or is infinite."""
    if not isinstance(given, str):
        return Decimal(given)
    text = given.strip()
    if len(text) > MAX_DIGITS:
        return None
    if _BASED.fullmatch(text):
        return Decimal(int(text, 0))
    return Decimal(text.replace("_", "")) if _DECIMAL.fullmatch(text) else None


def to_bool(value: Any) -> Any:
    """True or false; yes, no, on, off, 1 and 0 are the other ways to say so."""
    if isinstance(value, str):
        if (said := _BOOLS.get(value.strip().casefold())) is None:
            raise PydanticKnownError("bool_parsing")
        return said
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return value
    raise PydanticKnownError("bool_type")


def to_bool_beside_numbers(value: Any) -> Any:
    """True or false where a number may be meant, too: 1 and 0 are numbers then, quoted or not."""
    said = to_bool(value)
    if isinstance(value, bool) or (isinstance(value, str) and value.strip() not in ("0", "1")):
        return said
    raise PydanticKnownError("bool_parsing" if isinstance(value, str) else "bool_type")


def to_fraction(value: Any) -> Any:
    """A fraction; of a float the one that its digits say: 0.1 is 1/10."""
    if isinstance(value, bool):
        raise PydanticKnownError("fraction_type")
    return str(Fraction(repr(value))) if isinstance(value, float) and math.isfinite(value) else value


def to_complex(value: Any) -> Any:
    """A complex number."""
    if isinstance(value, bool):
        raise PydanticKnownError("complex_type")
    return value


def to_timedelta(value: Any) -> Any:
    """A length of time, with its unit: a number alone could be seconds, milliseconds or minutes."""
    if isinstance(value, Number):
        raise PydanticKnownError("time_delta_type")
    seconds = find_duration(value) if isinstance(value, str) else None
    return value if seconds is None or seconds != round(seconds, 6) else f"PT{seconds:.6f}S"


def _to_moment(kind: str) -> Convert:
    """Of a date or time: numbers are refused, which Pydantic counts from 1970."""

    def to_moment(value: Any) -> Any:
        if isinstance(value, Number):
            raise PydanticKnownError(f"{kind}_type")  # type: ignore[arg-type]
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            raise PydanticKnownError(f"{kind}_parsing", {"error": "a number is none"})  # type: ignore[arg-type]
        return value

    return to_moment


def to_path(value: Any) -> Any:
    """A path, `~` expanded; an empty text, which would be the working folder, is refused."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise PydanticCustomError("path_type", "Input is not a valid path")
    if isinstance(value, (str, Path)) and str(value).startswith("~"):
        try:
            expanded = Path(value).expanduser()
        except RuntimeError:  # of a user this machine does not know
            raise PydanticCustomError("path_type", "Input is not a valid path") from None
        return str(expanded) if isinstance(value, str) else expanded
    return value


def to_address(value: Any) -> Any:
    """An IP address or network as text: a number would be one, too."""
    if isinstance(value, Number):
        raise PydanticCustomError("ip_any_address", "Input is not a valid IP address")
    return value


def to_choice(choices: Sequence[Any]) -> Convert:
    """One of a `Literal`'s values as it is: `True` is no `1`, which Python takes for equal."""

    def check_choice(value: Any) -> Any:
        equal = [each for each in choices if _is_scalar(value) and each == value]
        if equal and not any(_is_same(value, each) for each in equal):
            raise PydanticKnownError("literal_error", {"expected": ""})
        return value

    return check_choice


class ToMember:
    """A member of an enum by its value, else by its name, else as the enum's own `_missing_` says.

    Attributes:
        names: those that are no value of the enum's.
    """

    def __init__(self, kind: type[Enum]) -> None:
        self.names = [name for name in kind.__members__ if name not in [each.value for each in kind]]
        self._kind = kind
        self._is_open = kind._missing_.__func__ is not Enum._missing_.__func__  # type: ignore[attr-defined]

    def __call__(self, value: Any) -> Any:
        kind = self._kind
        if not _is_scalar(value) or isinstance(value, kind) or any(_is_same(value, each.value) for each in kind):
            return value
        if isinstance(value, str) and value in kind.__members__:
            return kind.__members__[value].value
        if self._is_open:
            return value
        raise PydanticKnownError("enum", {"expected": ""})


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _is_same(value: Any, choice: Any) -> bool:
    return bool(value == choice) and isinstance(value, bool) is isinstance(choice, bool)


def keep_items(value: Any, handler: Callable[[Any], Any]) -> Any:
    """A set of a list's items, none of which is given twice; a wrap validator."""
    made = handler(value)
    if isinstance(value, (list, tuple)) and len(made) < len(value):
        refuse_repeated(value, _make_each(([item] for item in value), handler))
    return made


def keep_keys(value: Any, handler: Callable[[Any], Any]) -> Any:
    """A mapping none of whose keys become one: `1` and `"1"` do; a wrap validator."""
    made = handler(value)
    if isinstance(value, Mapping) and len(made) < len(value):
        refuse_repeated(list(value), _make_each(({key: item} for key, item in value.items()), handler), keys=True)
    return made


def _make_each(singles: Iterable[Any], handler: Callable[[Any], Any]) -> list[Any]:
    """What the one item or key of each becomes; nothing where the type takes no single one."""
    try:
        return [next(iter(handler(each))) for each in singles]
    except ValidationError:
        return []


def refuse_mask(value: Any) -> Any:
    """A secret as it is; not what an export or a log shows in its place."""
    if isinstance(value, str) and value and not value.strip("*"):
        raise PydanticCustomError(
            "masked_secret", "this is a mask, no secret", {"hint": "write the secret itself, or `${env:NAME}` for it"}
        )
    return value


BEFORE: Mapping[str, Convert] = {
    "int": to_int,
    "float": to_float,
    "bool": to_bool,
    "complex": to_complex,
    "fraction": to_fraction,
    "date": _to_moment("date"),
    "datetime": _to_moment("datetime"),
    "time": _to_moment("time"),
    "timedelta": to_timedelta,
}
"""By the core schema's type: what runs before it."""

AROUND: Mapping[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "set": keep_items,
    "frozenset": keep_items,
    "dict": keep_keys,
}
"""By the core schema's type: what runs around it."""
