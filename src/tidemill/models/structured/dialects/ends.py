"""Whether a schema that holds itself has a finite value."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from tidemill.config.subschemas import JsonSchema


def has_end(schema: JsonSchema) -> bool:
    """Whether some finite value is of `schema`, whose references go to its `$defs`."""
    definitions = schema.get("$defs", {})
    ended: set[str] = set()
    while found := {name for name, part in definitions.items() if name not in ended and _ends(part, ended)}:
        ended |= found
    return _ends(schema, ended)


def _ends(schema: Any, ended: Set[str]) -> bool:
    """Whether it has one, as far as those definitions are known to have one."""
    if not isinstance(schema, dict):
        return True
    if isinstance(reference := schema.get("$ref"), str):
        return reference.rpartition("/")[2] in ended
    if "anyOf" in schema and not any(_ends(part, ended) for part in schema["anyOf"]):
        return False
    if schema.get("minItems", 0) and not _ends(schema.get("items"), ended):
        return False
    properties = schema.get("properties", {})
    return all(_ends(properties.get(name), ended) for name in schema.get("required", ()))
