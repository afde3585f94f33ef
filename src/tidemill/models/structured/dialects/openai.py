"""OpenAI's strict mode.

Source: guide "Structured outputs", supported schemas (platform.openai.com, as of 2026): the keywords, the formats, an
object as the root that is no union, every property required, no keys of any name, and the bounds below. That a default
and a look-around in a pattern are refused is what the API answers. What `openai.lib._pydantic.to_strict_json_schema` of
the `openai` package 3.57 makes of a schema is what this makes of it, titles apart, wherever nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidemill.config.subschemas import JsonSchema
from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.dialects.adapting import adapt_schema
from tidemill.models.structured.dialects.grammar import Grammar

MAX_PROPERTIES = 5_000
MAX_DEPTH = 10
MAX_CHARACTERS = 120_000
"""Of all names of properties and definitions and all values of enums and constants together."""
MAX_CHOICES = 1_000
"""Values of all enums together."""
MAX_LONG_CHOICES, MAX_LONG_CHARACTERS = 250, 15_000
"""An enum of more texts than the first may have so many characters."""


def _hold(keyword: str, value: Any, schema: JsonSchema) -> bool:
    return keyword != "pattern" or "(?" not in value


GRAMMAR = Grammar(
    name="OpenAI's strict mode",
    kept=frozenset({"pattern", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"})
    | {"minItems", "maxItems"},
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}),
    holds=_hold,
    requires_all=True,
    needs_type=True,
)


def adapt(schema: Mapping[str, Any]) -> Adapted:
    """`schema` as strict mode takes it."""
    adapted = adapt_schema(schema, GRAMMAR)
    return replace(adapted, forbidden=(*adapted.forbidden, *_find_excess(adapted.schema)))


def _find_excess(schema: Mapping[str, Any]) -> Iterator[str]:
    """What there is too much of."""
    parts = list(_iter_parts(dict(schema)))
    definitions = schema.get("$defs", {})
    properties = sum(len(part.get("properties", ())) for part in parts)
    enums = [part["enum"] for part in parts if "enum" in part]
    names = [name for part in parts for name in part.get("properties", ())] + list(definitions)
    values = [value for enum in enums for value in enum] + [part["const"] for part in parts if "const" in part]
    characters = sum(map(len, names)) + sum(len(value) for value in values if isinstance(value, str))
    depth = _measure_depth(dict(schema), definitions, frozenset())
    found = (
        ("properties", properties, MAX_PROPERTIES),
        ("levels of objects", depth, MAX_DEPTH),
        ("characters in names and choices", characters, MAX_CHARACTERS),
        ("choices", sum(map(len, enums)), MAX_CHOICES),
    )
    for what, count, most in found:
        if count > most:
            yield f"it has {count:,} {what}, and at most {most:,} are taken"
    for enum in enums:
        size = sum(len(value) for value in enum if isinstance(value, str))
        if len(enum) > MAX_LONG_CHOICES and size > MAX_LONG_CHARACTERS:
            yield f"one of {len(enum):,} choices has {size:,} characters, and at most {MAX_LONG_CHARACTERS:,} are taken"


def _iter_parts(schema: JsonSchema) -> Iterator[JsonSchema]:
    """The schemas within an adapted one."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    for part in (*inner, *([schema["items"]] if "items" in schema else [])):
        yield from _iter_parts(part)


def _measure_depth(schema: JsonSchema, definitions: Mapping[str, JsonSchema], within: frozenset[str]) -> int:
    """Objects within each other, one that holds itself counted once."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in within or name not in definitions:
            return 0
        return _measure_depth(definitions[name], definitions, within | {name})
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [schema["items"]] if "items" in schema else []
    deepest = max((_measure_depth(part, definitions, within) for part in inner), default=0)
    return deepest + ("properties" in schema)
