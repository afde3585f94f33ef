"""What Pydantic leaves lax and a configuration may not: the rules of `Config` for any schema.

Keys a dataclass or TypedDict does not have are refused, at every depth. Values become numbers that lose nothing on
the way:

| given | `int` | `float` |
|---|---|---|
| `64` | 64 | 64.0 |
| `"64"`, `64.0`, `1e2` | 64, 64, 100 | 64.0, 64.0, 100.0 |
| `"1e-4"` | refused | 0.0001 |
| `64.5`, `"64.5"` | refused | 64.5 |
| `true`, `no`, null, NaN, infinity | refused | refused |

Pydantic's lax mode coerces so but for booleans, which Python counts as integers.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError

_OPAQUE = frozenset({"metadata", "serialization", "cls", "function", "default", "expected", "members", "config"})
"""Parts of a core schema that hold no schema of an input."""

_BY_NAME = frozenset({"fields", "choices"})
"""Parts that may be a mapping of names, which could read as a schema's own."""


def tighten(schema: CoreSchema) -> CoreSchema:
    """A copy of a core schema with these rules at every depth, save where a type's own configuration says otherwise."""
    return cast(CoreSchema, _tighten(schema))


class ConfigRules:
    """Annotation that gives any type the rules of `Config`: `TypeAdapter(Annotated[MyDataclass, ConfigRules()])`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return tighten(handler(source))


def _refuse_int(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


def _refuse_float(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


_CHECKS = {"int": _refuse_int, "float": _refuse_float}


def _tighten(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_tighten(item) for item in schema]
    if isinstance(schema, tuple):
        return tuple(_tighten(item) for item in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind in _CHECKS and not schema.get("strict"):
        return {"type": "function-before", "function": {"type": "no-info", "function": _CHECKS[kind]}, "schema": schema}
    if kind == "function-before" and schema["function"]["function"] in _CHECKS.values():
        return schema
    tight = {key: _tighten_part(key, value) for key, value in schema.items()}
    if kind in ("dataclass", "typed-dict"):
        given = schema.get("config", {})
        tight["config"] = {"extra_fields_behavior": "forbid", "allow_inf_nan": False} | given
        if kind == "typed-dict" and "extra_fields_behavior" not in given:
            tight["extra_behavior"] = "forbid"
    return tight


def _tighten_part(key: str, value: Any) -> Any:
    if key in _OPAQUE:
        return value
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _tighten(each) for name, each in value.items()}
    return _tighten(value)
