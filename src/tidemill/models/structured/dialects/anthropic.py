"""Anthropic's structured outputs, and its strict tools.

Source: guide "Structured outputs", JSON Schema limitations and schema complexity limits (platform.claude.com, read in
November 2026), and what the `anthropic` package 2.14 makes of a schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import add
from typing import Any, NamedTuple

from tidemill.config.subschemas import JsonSchema, iter_schemas
from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.dialects.adapting import adapt_schema
from tidemill.models.structured.dialects.grammar import Grammar


class Load(NamedTuple):
    """What the API bounds over all strict schemas of a request together.

    Attributes:
        tools: that are strict.
        optional: properties that are not required.
        unions: properties that may be of several types.
    """

    tools: int = 0
    optional: int = 0
    unions: int = 0

    def __add__(self, other: Any) -> Load:
        return Load(*map(add, self, other))

    @property
    def fits(self) -> bool:
        """Whether one request may have it."""
        return all(count <= most for count, most in zip(self, MOST, strict=True))


MOST = Load(tools=20, optional=24, unions=16)


def _hold(keyword: str, value: Any, schema: JsonSchema) -> bool:
    if keyword == "minItems":
        return value in (0, 1)
    return keyword != "enum" or not any(isinstance(each, (list, dict)) for each in value)


GRAMMAR = Grammar(
    name="Anthropic's structured outputs",
    kept=frozenset({"format", "minItems", "allOf"}),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    holds=_hold,
    recurses=False,
    describes_references=True,
)


def adapt(schema: Mapping[str, Any]) -> Adapted:
    """`schema` as structured outputs take it."""
    adapted = adapt_schema(schema, GRAMMAR)
    return replace(adapted, forbidden=(*adapted.forbidden, *_find_excess(dict(adapted.schema))))


def weigh(schema: Mapping[str, Any], *, tools: int = 0) -> Load:
    """What an adapted schema takes of `MOST`."""
    optional = unions = 0
    for part in iter_schemas(dict(schema)):
        properties = part.get("properties", {})
        optional += sum(name not in part.get("required", ()) for name in properties)
        unions += sum("anyOf" in each or isinstance(each.get("type"), list) for each in properties.values())
    return Load(tools, optional, unions)


def _find_excess(schema: JsonSchema) -> Iterator[str]:
    """What there is too much of."""
    load = weigh(schema)
    for what, count, most in (
        ("optional properties", load.optional, MOST.optional),
        ("unions", load.unions, MOST.unions),
    ):
        if count > most:
            yield f"it has {count:,} {what}, and at most {most:,} are taken"
