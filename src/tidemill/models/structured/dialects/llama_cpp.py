"""The grammar that llama.cpp makes of a schema.

Source: `common/json-schema-to-grammar.cpp`, as the server of xllamacpp 2026.10 answers to each keyword. What it does
not know it leaves out of the grammar, some of it without a word; a model does not see the schema: nothing is told it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tidemill.config.subschemas import JsonSchema
from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.dialects.adapting import adapt_schema
from tidemill.models.structured.dialects.grammar import Grammar

_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_PLAIN_PATTERN = re.compile(r"\^(?:[^\\^$]|\\[^a-zA-Z0-9])*\$")
"""A pattern of the whole text, without classes such as `\\d`; a group with a question mark is none of it either."""


def _hold(keyword: str, value: Any, schema: JsonSchema) -> bool:
    if keyword in _BOUNDS:  # of whole numbers alone
        return schema.get("type") == "integer"
    if keyword == "pattern":
        return "(?" not in value and _PLAIN_PATTERN.fullmatch(value) is not None
    return True


GRAMMAR = Grammar(
    name="llama.cpp's grammar",
    kept=frozenset({"format", "pattern", "minLength", "maxLength", "prefixItems", "minItems", "maxItems", *_BOUNDS})
    | {"allOf", "oneOf"},
    formats=frozenset({"date", "time", "date-time", "uuid"}),
    holds=_hold,
    opens=True,
    wants_object_root=False,
    takes_any=True,
    describes_references=True,
    tells=False,
)


def adapt(schema: Mapping[str, Any]) -> Adapted:
    """`schema` as llama.cpp takes it."""
    return adapt_schema(schema, GRAMMAR)
