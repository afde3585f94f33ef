"""The Arrow type of a column whose values are the JSON form of some annotation."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Required, Union

import pyarrow as pa
from pydantic import BaseModel
from typing_extensions import is_typeddict

from tidemill.config.subschemas import JsonSchema
from tidemill.errors import ConfigError
from tidemill.models.structured.schemas import gather_definitions

_SCALARS: Mapping[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}
_JSON_SCALARS: Mapping[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
}
_AS_STRINGS = (
    str,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    bytes,
)
"""In a JSON form these are texts; see `OutputParser`."""
_LISTS = (list, set, frozenset, tuple)


def find_type(annotation: Any, place: str) -> pa.DataType:
    """The type of a column that holds the JSON form of `annotation`.

    Args:
        place: what it is called where it has none.

    Raises:
        ConfigError: it, or something in it, has no Arrow type; names it.
    """
    return _find_type(annotation, place, ())


def _find_type(annotation: Any, place: str, within: tuple[Any, ...]) -> pa.DataType:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Annotated, Required, NotRequired):
        return _find_type(args[0], place, within)
    if origin is Literal:
        return _join([_find_type(type(value), place, within) for value in args if value is not None], place)
    if origin in (Union, types.UnionType):
        return _join([_find_type(arg, place, within) for arg in args if arg is not type(None)], place)
    if origin in _LISTS and args:
        return pa.list_(_join([_find_type(arg, place, within) for arg in args if arg is not Ellipsis], place))
    for named in ("__supertype__", "__value__"):  # of a `NewType`, of a `type` statement
        if hasattr(annotation, named):
            return _find_type(getattr(annotation, named), place, within)
    if isinstance(annotation, type):
        if (schema := getattr(annotation, "__json_schema__", None)) is not None:
            whole = gather_definitions(dict(schema))
            return _find_in_schema(whole, place, whole.get("$defs", {}), ())
        if (found := _find_class(annotation, place, within)) is not None:
            return found
    raise _no_type(place, annotation)


def _find_class(kind: type, place: str, within: tuple[Any, ...]) -> pa.DataType | None:
    if kind in _SCALARS:
        return _SCALARS[kind]
    if issubclass(kind, enum.Enum):
        return _join([_find_type(type(member.value), place, within) for member in kind], place)
    if issubclass(kind, _AS_STRINGS):
        return pa.string()
    fields = _list_fields(kind)
    if fields is None:
        return None
    if kind in within:
        raise _recursion(place)
    inner = (*within, kind)
    found = [(key, _find_type(hint, f"{kind.__name__}.{name}", inner)) for name, key, hint in fields]
    return pa.struct([pa.field(key, each) for key, each in found])


def _list_fields(kind: type) -> Sequence[tuple[str, str, Any]] | None:
    """Name, key in JSON and annotation of each field of a class that has fields."""
    if issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return [(name, field.serialization_alias or name, field.annotation) for name, field in fields]
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return [(each.name, each.name, hints[each.name]) for each in dataclasses.fields(kind)]
    if is_typeddict(kind):
        return [(name, name, hint) for name, hint in typing.get_type_hints(kind, include_extras=True).items()]
    return None


def _find_in_schema(
    schema: Any, place: str, definitions: Mapping[str, JsonSchema], within: tuple[str, ...]
) -> pa.DataType:
    """The type of a column that holds what a JSON Schema takes."""
    if not isinstance(schema, dict):
        raise _no_type(place, "anything")
    if isinstance(reference := schema.get("$ref"), str):
        name = reference.rpartition("/")[2]
        if name in within or name not in definitions:
            raise _recursion(place)
        return _find_in_schema(definitions[name], place, definitions, (*within, name))
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return _join([_find_type(type(value), place, ()) for value in values if value is not None], place)
    parts = schema.get("anyOf") or schema.get("oneOf")
    kinds = schema.get("type")
    if isinstance(kinds, list):
        parts = [{**schema, "type": kind} for kind in kinds]
    if parts:
        some = [part for part in parts if not (isinstance(part, dict) and part.get("type") == "null")]
        return _join([_find_in_schema(part, place, definitions, within) for part in some], place)
    if isinstance(kinds, str) and kinds in _JSON_SCALARS:
        return _JSON_SCALARS[kinds]
    if kinds == "array" and ("items" in schema or "prefixItems" in schema):
        items = [*schema.get("prefixItems", ()), *([schema["items"]] if isinstance(schema.get("items"), dict) else [])]
        return pa.list_(_join([_find_in_schema(part, place, definitions, within) for part in items], place))
    if kinds == "object" and schema.get("properties") and schema.get("additionalProperties") in (None, False):
        properties = schema["properties"].items()
        found = [(key, _find_in_schema(part, f"{place}.{key}", definitions, within)) for key, part in properties]
        return pa.struct([pa.field(key, each) for key, each in found])
    raise _no_type(place, "anything" if kinds is None else f"a JSON {kinds} of any form")


def _join(kinds: Iterable[pa.DataType], place: str) -> pa.DataType:
    """The one type that holds all of `kinds`."""
    found = set(kinds)
    if found == {pa.int64(), pa.float64()}:
        return pa.float64()
    if len(found) != 1:
        told = " or ".join(sorted(map(str, found))) or "nothing but null"
        raise ConfigError(
            f"`{place}` may be {told}, and a column holds one type",
            hint="narrow it, or write JSON lines: sink.format: jsonl",
        )
    return found.pop()


def _no_type(place: str, what: Any) -> ConfigError:
    return ConfigError(
        f"`{place}` is {what}, which has no Arrow type",
        hint="give it a plain type (str, int, float, bool, a list, a model), or write JSON lines: sink.format: jsonl",
    )


def _recursion(place: str) -> ConfigError:
    return ConfigError(
        f"`{place}` holds itself, and a column's type has an end", hint="write JSON lines: sink.format: jsonl"
    )
