"""`Grammar`: which part of JSON Schema a dialect has, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.config.subschemas import JsonSchema

STRUCTURE = frozenset({"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"}) | {
    "$ref",
    "$defs",
    "description",
}
"""What every dialect has."""
SILENT = frozenset({"title", "$schema", "$id", "$comment", "discriminator"})
"""Keywords that allow and forbid nothing and tell the model nothing new; `discriminator` is OpenAPI's, and says only
which of the alternatives to look at."""


def _hold_all(keyword: str, value: Any, schema: JsonSchema) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """The part of JSON Schema that a dialect holds replies to.

    Attributes:
        name: of the dialect, as a reader knows it.
        kept: keywords that stand as they are, besides those of the structure.
        formats: values of `format` that are held to.
        holds: whether a kept keyword is held to with this value in this schema.
        requires_all: every property has to be required.
        opens: objects may have keys of any name.
        roots: what may be the root: only an object that is no union, or anything.
        lists_any: a schema may take any value.
        recurses: a schema may hold itself; `only_optional` where it does so in a property that may be left out.
        describes_references: beside a reference there may be a description.
        repeats_constants: `const` is known; where not, it becomes an `enum` of one.
        needs_type: every schema without a reference or alternatives needs its type.
        tells: whether what is dropped is told in descriptions, which the model sees.
    """

    name: str
    kept: frozenset[str]
    formats: frozenset[str]
    holds: Callable[[str, Any, JsonSchema], bool] = _hold_all
    requires_all: bool = False
    opens: bool = False
    wants_object_root: bool = True
    takes_any: bool = False
    recurses: bool = True
    recurses_in_required: bool = True
    describes_references: bool = False
    has_const: bool = True
    needs_type: bool = False
    tells: bool = True
