"""The part of a JSON Schema that Anthropic's structured outputs hold a reply to.

Source: guide "Structured outputs", JSON Schema limitations (platform.claude.com, read in November 2026), and what the
`anthropic` package 2.14 makes of a schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from tidemill.models.structured.asking import reply_schema

_KEPT = frozenset({"type", "required", "description", "enum", "const", "$ref"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_INEXPRESSIBLE = frozenset({"prefixItems", "patternProperties", "not", "if", "contains", "propertyNames"})


def constrained_schema(model: type[BaseModel]) -> dict[str, Any] | None:
    """The schema of `model` in the words that are enforced, the rest told in descriptions.

    None where too much would be lost: objects with any keys, models that hold themselves, tuples.
    """
    schema = reply_schema(model)
    if schema.get("type") != "object" or _holds_itself(schema):
        return None
    try:
        return _constrain(schema)
    except _Inexpressible:
        return None


class _Inexpressible(Exception):  # noqa: N818 - a word within this module
    """A part of the schema has no form that is enforced."""


def _constrain(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict) or not _INEXPRESSIBLE.isdisjoint(schema):
        raise _Inexpressible
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise _Inexpressible
    kept: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: _constrain(part) for name, part in value.items()}
        elif key in ("anyOf", "oneOf", "allOf"):
            kept["allOf" if key == "allOf" else "anyOf"] = [_constrain(part) for part in value]
        elif key == "items":
            kept[key] = _constrain(value)
        elif key in _KEPT or key == "additionalProperties" or _is_enforced(key, value):
            kept[key] = value
        elif key != "discriminator":  # of OpenAPI: says only which of `oneOf` to look at
            told[key] = value
    if told:
        note = "{" + ", ".join(f"{key}: {value}" for key, value in told.items()) + "}"
        kept["description"] = f"{kept['description']}\n\n{note}" if "description" in kept else note
    return kept


def _is_enforced(key: str, value: Any) -> bool:
    return (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1))


def _holds_itself(schema: dict[str, Any]) -> bool:
    """Whether a definition can be reached from itself, or the root is referred to."""
    definitions = schema.get("$defs", {})
    uses = {name: {ref.rpartition("/")[2] for ref in _iter_references(part)} for name, part in definitions.items()}
    for name, used in uses.items():
        seen: set[str] = set()
        ahead = used
        while ahead:
            seen |= ahead
            ahead = set().union(*(uses.get(each, set()) for each in ahead)) - seen
        if name in seen:
            return True
    return False


def _iter_references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            yield ref
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _iter_references(part)
