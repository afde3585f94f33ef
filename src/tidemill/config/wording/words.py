"""Values as a message says them."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, Secret, SecretBytes, SecretStr
from pydantic_core import CoreSchema

from tidemill.config.secrets import MASK
from tidemill.config.wording.suggest import MAX_LISTED, Elsewhere

MAX_SHOWN = 60
"""Characters of a text that a message shows before it is cut."""

MAX_BITS = 1024
"""Bits of an integer that a message shows the digits of; Python refuses to write out those of 4,300 digits."""

_SPANS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}

WORDS = "tidemill_words"
"""The metadata key under which a type of ours says what it expects."""


TIGHT = "tidemill_tight"
"""The metadata key of a core schema that has the rules of `Config`."""


ELSEWHERE = "tidemill_elsewhere"
"""The metadata key under which a field says what it is called elsewhere."""


class CalledElsewhere:
    """Annotation of a field that others know by another name: whoever writes that one is told this.

    The other name is not taken: `instructions: Annotated[str, CalledElsewhere("system_prompt")]`.
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _note(handler(source), ELSEWHERE, self.names)


CHOICES_ELSEWHERE = "tidemill_choices_elsewhere"
"""The metadata key under which a `Literal` says what its choices are called elsewhere."""


class ChoicesElsewhere:
    """Annotation of a `Literal` whose choices others know by other names: whoever writes one of those is told ours.

    No other name is taken. None stands where nothing here means the same, and no choice is then suggested for it:
    `Annotated[Literal["mean", "sum"], ChoicesElsewhere({"avg": "mean", "median": None})]`.
    """

    def __init__(self, names: Elsewhere) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _note(handler(source), CHOICES_ELSEWHERE, self.names)


class Says:
    """Annotation by which a type says what it expects, where its schema alone would not."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _note(handler(source), WORDS, self.words)


def _note(schema: Any, key: str, value: object) -> CoreSchema:
    """The schema with `value` in its metadata."""
    schema["metadata"] = {**schema.get("metadata", {}), key: value}
    return cast(CoreSchema, schema)


def describe_value(value: Any) -> str:
    """A value as a message shows it: scalars as YAML has them, a long text cut, of a container its size."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return describe_value(value.value)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"an integer of {value.bit_length():,} bits"
    if isinstance(value, (int, float)):
        return cut(plain(value) if "e" in repr(value) else repr(value))
    if isinstance(value, str):
        size = f" ({len(value):,} characters)" if len(value) > MAX_SHOWN else ""
        return f'"{cut(value)}"{size}'
    if shown := next((show(value) for kind, show in _SHOWN.items() if isinstance(value, kind)), ""):
        return shown
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"a list of {len(value)}" if value else "an empty list"
    if callable(value):
        return f"`{getattr(value, '__qualname__', type(value).__qualname__)}`"
    return name_class(value)


def name_class(value: Any) -> str:
    """The name of a value's class with its article.

    >>> name_class(object()), name_class(set())
    ('an object', 'a set')
    """
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def describe_span(span: timedelta) -> str:
    """A length of time as a configuration may have it.

    >>> describe_span(timedelta(hours=1, seconds=0.5))
    '1h0.5s'
    """
    rest, pieces = abs(span), ""
    for unit, size in _SPANS.items():
        count, rest = divmod(rest, size)
        pieces += f"{count}{unit}" if count else ""
    seconds = plain(rest.total_seconds())
    pieces += f"{seconds}s" if rest or not pieces else ""
    return f"-{pieces}" if span < timedelta() else pieces


_SHOWN: dict[type | tuple[type, ...], Callable[[Any], str]] = {
    Decimal: lambda value: cut(str(value)),
    timedelta: describe_span,
    (date, time): lambda value: str(value.isoformat()),
    (bytes, bytearray): lambda value: f"{len(value)} byte{'' if len(value) == 1 else 's'}",
    PurePath: lambda value: f'"{cut(str(value))}"',
    (SecretStr, SecretBytes, Secret): lambda _: MASK,
}


def plain(value: Any, *, digits: int | None = None) -> str:
    """A number as a person writes it: `5`, though Pydantic makes a number's bounds floats, and `0.00001`, not `1e-05`.

    Args:
        digits: how many significant ones are shown at most; None for all.
    """
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    exact = Decimal(repr(value)) if digits is None else Decimal(f"{value:.{digits}g}")
    if exact and not -12 <= exact.adjusted() < 15:
        return str(value)
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def cut(text: str) -> str:
    """The text, shown on one line and at most 60 characters long."""
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return "".join(character if character.isprintable() else _escape(character) for character in shown)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def describe_choices(choices: Sequence[Any]) -> str:
    """`raise`, `quarantine` or `skip`; a value that is no text as YAML has it."""
    shown = [f"`{each}`" if isinstance(each, str) else describe_value(each) for each in choices]
    if len(shown) > MAX_LISTED:
        return f"one of {', '.join(shown[:MAX_LISTED])} and {len(shown) - MAX_LISTED} more"
    return " or ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""
