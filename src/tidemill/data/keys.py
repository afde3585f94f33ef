"""What records are compared by: a column, several, or what a function makes of a record."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidemill.config.types.functions import Function
from tidemill.config.wording.words import Says, describe_value
from tidemill.data.columns import read_column
from tidemill.data.rendering import NoFormError, render_line
from tidemill.errors import DataError

DIGEST_BYTES = 16
"""Of BLAKE2b: among 10^12 keys two are taken for one with a probability of 1.5e-15."""

KeyFunction = Callable[[Any], Any]

_WORDS = "a column, a list of columns or a function"
_FUNCTION: TypeAdapter[Any] = TypeAdapter(Function)


def _to_key(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and ":" not in value and value:
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, str) for each in value):
        return tuple(value)
    if callable(value) or (isinstance(value, str) and value):
        function = _FUNCTION.validate_python(value, context=info.context)
        if inspect.iscoroutinefunction(function):
            hint = "make it a plain function: nothing awaits it here"
            raise PydanticCustomError(
                "key", "expected {words}, got a coroutine function", {"words": _WORDS, "hint": hint}
            )
        return function
    raise PydanticCustomError("key", "expected {words}, got {got}", {"words": _WORDS, "got": describe_value(value)})


def _describe_key(key: Any) -> Any:
    return _FUNCTION.dump_python(key) if callable(key) else list(key) if isinstance(key, tuple) else key


Key = Annotated[
    Any,
    BeforeValidator(_to_key),
    PlainSerializer(_describe_key),
    Says(_WORDS),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
            "description": "A column, a list of columns, or a function as `module:name`.",
        }
    ),
]
"""A column by its name, several as a list, or a function of a record; a text with a colon in it is an import path."""


def make_key(key: Any) -> KeyFunction:
    """The function of a record behind a `Key`; None stands for the whole record.

    Raises (the function): DataError: the record has no such column.
    """
    if key is None:
        return lambda record: record
    if isinstance(key, str):
        return lambda record: read_column(record, key)
    if isinstance(key, tuple):
        return lambda record: tuple(read_column(record, name) for name in key)
    function: KeyFunction = key
    return function


Named = bytes | tuple[Any, ...]
"""What stands for a key in memory, and equals what stands for another where their digests are equal."""

_ALIKE = frozenset({int, str})
"""Kinds of which no two values are equal whose digests differ, as those of 1, 1.0 and True do."""


def name_key(key: tuple[Any, ...]) -> Named:
    """What stands for a key in memory: itself where that will do, which is quicker than its digest.

    Raises:
        DataError: as `digest_key`.
    """
    return key if _ALIKE.issuperset(map(type, key)) else digest_key(key)


def digest_named(named: Named) -> bytes:
    """The digest of the key that this stands for."""
    return named if isinstance(named, bytes) else digest_key(named)


def digest_key(value: Any) -> bytes:
    """A digest of a key: that of its JSON with sorted keys; what JSON has no form for has one of its own there.

    Raises:
        DataError: it holds what there is no such form for.
    """
    try:
        line = render_line(value)
    except (NoFormError, RecursionError) as error:
        kind = error.kind if isinstance(error, NoFormError) else "value within itself"
        raise DataError(f"expected a key of plain values, got a {kind}", hint="name a column of plain values") from None
    return hashlib.blake2b(line, digest_size=DIGEST_BYTES).digest()
