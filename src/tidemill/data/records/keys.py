"""What records are compared by: a column, several, or what a function makes of a record."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from struct import Struct
from typing import Annotated, Any
from zlib import crc32

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidemill.config.types.functions import Function
from tidemill.config.wording.words import Says, describe_value
from tidemill.data.records.columns import make_reader, make_row_reader, missing_column
from tidemill.data.records.equality import unify
from tidemill.data.records.rendering import NoFormError, render_line
from tidemill.errors import DataError

DIGEST_BYTES = 16
"""Of BLAKE2b: among 10^12 keys two are taken for one with a probability of 1.5e-15."""

COMPARED = "equal values are one"
"""How keys are compared, in the description of each step that does: another text where others are one."""

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
        return make_reader(key)
    if isinstance(key, tuple):
        return make_row_reader(key)
    function: KeyFunction = key
    return function


Named = int | str | bytes | tuple[int | str | bytes, ...]
"""What stands for a key, and equals what stands for another where they are one."""

_ALIKE = frozenset({int, str})
"""Kinds that stand for themselves; what equals one of their values and is of another kind, as 1.0, is made it first."""


def make_namer(names: tuple[str, ...]) -> Callable[[Any], Named | None]:
    """Gives what stands for a record's key, its values in these columns; None where one of them is None.

    Raises (the function): DataError: the record has no such column, or as `digest_key`.
    """
    if len(names) > 1:
        read = make_row_reader(names)

        def name_row(record: Any) -> Named | None:
            key = read(record)
            return None if None in key else name_values(key)

        return name_row
    (name,) = names

    def name_one(record: Any) -> Named | None:
        try:
            value = record[name]
        except (KeyError, TypeError, IndexError):
            raise missing_column(name, record) from None
        if type(value) in _ALIKE:
            return value  # type: ignore[no-any-return]
        return None if value is None else name_value(value)

    return name_one


HASH_BITS = 32
_HASH = Struct("<q")


def name_value(value: Any) -> int | str | bytes:
    """What stands for a key of one value: itself where that will do, which is quicker than its digest.

    Raises:
        DataError: as `digest_key`.
    """
    if type(value) in _ALIKE:
        return value  # type: ignore[no-any-return]
    unified = _unify(value)
    return unified if type(unified) in _ALIKE else _digest(unified)


def name_values(key: tuple[Any, ...]) -> Named:
    """What stands for a key of several values.

    Raises:
        DataError: as `digest_key`.
    """
    return key if _ALIKE.issuperset(map(type, key)) else tuple(map(name_value, key))


def hash_named(named: Named) -> int:
    """A number of `HASH_BITS` that follows from a key, the same in every process."""
    kind = type(named)
    if kind is int:
        return crc32(_HASH.pack(hash(named)))
    if kind is str:
        return crc32(named.encode("utf-8", "surrogatepass"))  # type: ignore[union-attr]
    if kind is bytes:
        return crc32(named)  # type: ignore[arg-type]
    return crc32(b"".join([hash_named(each).to_bytes(4, "little") for each in named]))  # type: ignore[union-attr]


def digest_key(value: Any) -> bytes:
    """A digest of a key, that of all that equal it: of the line of the one value that stands for them.

    Raises:
        DataError: it holds what there is no such form for.
    """
    return _digest(value if type(value) in _ALIKE else _unify(value))


def _unify(value: Any) -> Any:
    try:
        return unify(value)
    except RecursionError:
        raise _no_key("value within itself") from None


def _digest(unified: Any) -> bytes:
    try:
        line = render_line(unified)
    except (NoFormError, RecursionError) as error:
        raise _no_key(error.kind if isinstance(error, NoFormError) else "value within itself") from None
    return hashlib.blake2b(line, digest_size=DIGEST_BYTES).digest()


def _no_key(kind: str) -> DataError:
    return DataError(f"expected a key of plain values, got a {kind}", hint="name a column of plain values")
