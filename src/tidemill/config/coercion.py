"""Which values become numbers: those that lose nothing on the way.

| given | `int` | `float` |
|---|---|---|
| `64` | 64 | 64.0 |
| `"64"`, `64.0`, `1e2` | 64, 64, 100 | 64.0, 64.0, 100.0 |
| `"1e-4"` | refused | 0.0001 |
| `64.5`, `"64.5"` | refused | 64.5 |
| `true`, `no`, null, NaN, infinity | refused | refused |

Pydantic's lax mode does all of it but the booleans, which Python counts as integers; `refuse_booleans` adds that.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError

_OPAQUE = frozenset({"metadata", "serialization", "cls", "function", "default", "expected", "members", "config"})
"""Parts of a core schema that hold no schema of an input."""

_BY_NAME = frozenset({"fields", "choices"})
"""Parts that may be a mapping of names, which could read as a schema's own."""


def refuse_booleans(schema: CoreSchema) -> CoreSchema:
    """A copy of a core schema in which no `int` or `float`, at any depth, takes a bool."""
    return cast(CoreSchema, _wrap(schema))


class SafeNumbers:
    """Annotation that gives any type the coercion of `Config`: `TypeAdapter(Annotated[MyDataclass, SafeNumbers()])`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return refuse_booleans(handler(source))


def _refuse_int(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


def _refuse_float(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


_CHECKS = {"int": _refuse_int, "float": _refuse_float}


def _wrap(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_wrap(item) for item in schema]
    if isinstance(schema, tuple):
        return tuple(_wrap(item) for item in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind in _CHECKS and not schema.get("strict"):
        return {"type": "function-before", "function": {"type": "no-info", "function": _CHECKS[kind]}, "schema": schema}
    if kind == "function-before" and schema["function"]["function"] in _CHECKS.values():
        return schema
    return {key: _wrap_part(key, value) for key, value in schema.items()}


def _wrap_part(key: str, value: Any) -> Any:
    if key in _OPAQUE:
        return value
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _wrap(each) for name, each in value.items()}
    return _wrap(value)
