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


def tighten(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """The core schema `handler` gives for `source`, with these rules at every depth.

    A type's own configuration comes first, and a nested Pydantic model keeps its own rules.
    """
    return cast(CoreSchema, _Tightening(handler).tighten(handler(source)))


class ConfigRules:
    """Annotation that gives any type the rules of `Config`: `TypeAdapter(Annotated[MyDataclass, ConfigRules()])`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return tighten(source, handler)


def _refuse_int(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


def _refuse_float(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


_CHECKS = {"int": _refuse_int, "float": _refuse_float}


class _Tightening:
    """One pass over a core schema; what it refers to by name is changed where it is kept."""

    def __init__(self, handler: GetCoreSchemaHandler) -> None:
        self.handler = handler
        self.seen: set[str] = set()

    def tighten(self, schema: Any) -> Any:
        if isinstance(schema, (list, tuple)):
            return type(schema)(self.tighten(item) for item in schema)
        if not isinstance(schema, dict):
            return schema
        kind = schema.get("type")
        if kind in _CHECKS and not schema.get("strict"):
            check = {"type": "no-info", "function": _CHECKS[kind]}
            return {"type": "function-before", "function": check, "schema": schema}
        if kind == "function-before" and schema["function"]["function"] in _CHECKS.values():
            return schema
        if kind == "definition-ref":
            self._tighten_definition(schema)
            return schema
        tight = {key: self._tighten_part(key, value) for key, value in schema.items()}
        if kind in ("dataclass", "typed-dict"):
            given = schema.get("config", {})
            tight["config"] = {"extra_fields_behavior": "forbid", "allow_inf_nan": False} | given
            if kind == "typed-dict" and "extra_fields_behavior" not in given:
                tight["extra_behavior"] = "forbid"
        return tight

    def _tighten_part(self, key: str, value: Any) -> Any:
        if key in _OPAQUE:
            return value
        if key in _BY_NAME and isinstance(value, dict):
            return {name: self.tighten(each) for name, each in value.items()}
        return self.tighten(value)

    def _tighten_definition(self, reference: dict[str, Any]) -> None:
        """Tighten, once, what a reference means, unless it is another model's own schema, which is shared."""
        if reference["schema_ref"] in self.seen:
            return
        self.seen.add(reference["schema_ref"])
        definition: Any = self.handler.resolve_ref_schema(cast(CoreSchema, reference))
        if not hasattr(definition.get("cls"), "__pydantic_core_schema__"):
            definition.update(self.tighten(dict(definition)))
