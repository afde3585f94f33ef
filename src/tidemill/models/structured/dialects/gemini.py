"""Gemini's structured output, asked for by its OpenAI-compatible endpoint.

Source: API reference of `generateContent`, `responseJsonSchema` (ai.google.dev, as of 2026): the keywords, `oneOf` as
`anyOf`, and that a schema may hold itself only in properties that are not required.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.config.subschemas import JsonSchema
from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.dialects.adapting import adapt_schema
from tidemill.models.structured.dialects.grammar import Grammar


def _hold(keyword: str, value: Any, schema: JsonSchema) -> bool:
    """An enum is one of texts or numbers."""
    return keyword != "enum" or all(isinstance(each, (str, int, float)) and each is not True for each in value)


GRAMMAR = Grammar(
    name="Gemini's structured output",
    kept=frozenset({"format", "prefixItems", "minItems", "maxItems", "minimum", "maximum"}),
    formats=frozenset({"date-time", "date", "time"}),
    holds=_hold,
    opens=True,
    wants_object_root=False,
    recurses_in_required=False,
    has_const=False,
)


def adapt(schema: Mapping[str, Any]) -> Adapted:
    """`schema` as Gemini takes it."""
    return adapt_schema(schema, GRAMMAR)
