"""What a filter asks, as Qdrant has it (qdrant.tech/documentation/concepts/filtering)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from tidemill.errors import DataError
from tidemill.stores.filters import MAX_INT, MIN_INT, ORDERS, Comparison

_RANGES: Final = {"gt": "gt", "ge": "gte", "lt": "lt", "le": "lte"}

_EXACT: Final = 2**53
"""Up to this, float64 holds every whole number."""

Condition = dict[str, Any]


def name_key(field: str) -> str:
    """Where a field's value stands in a point's payload, as a path.

    >>> name_key("year")
    'fields.year'
    """
    return f"fields.{field}" if field.isascii() else f'fields."{field}"'


def parse_key(key: str) -> str | None:
    """The field whose value stands at a path, as `name_key` has it; None for a path of something else.

    >>> parse_key("fields.year"), parse_key("payload.year")
    ('year', None)
    """
    return key.removeprefix("fields.").strip('"') if key.startswith("fields.") else None


def render_filter(comparisons: Sequence[Comparison]) -> Condition | None:
    """A `Filter` that lets pass what all of them do; None where nothing can pass.

    Raises:
        DataError: texts are to be compared by their order, which Qdrant has no condition for.
    """
    must: list[Condition] = []
    must_not: list[Condition] = []
    for comparison in comparisons:
        operator, key = comparison.operator, name_key(comparison.field)
        if operator in ORDERS:
            if comparison.kind == "str":
                where, hint = f"filter.{comparison.field}", "compare by `eq` or `in`, or by a field of numbers"
                raise DataError(
                    f"Qdrant compares no texts by their order, as `{operator}` does", where=where, hint=hint
                )
            must.append(_render_order(key, operator, comparison.value))
            continue
        values = comparison.values if operator in ("in", "not_in") else (comparison.value,)
        conditions = _render_any(key, comparison, values)
        if operator in ("ne", "not_in"):
            must_not += conditions
        elif not conditions:
            return None
        else:
            must.append(conditions[0] if len(conditions) == 1 else {"should": conditions})
    return {name: each for name, each in (("must", must), ("must_not", must_not)) if each}


def _render_order(key: str, operator: str, value: int | float) -> Condition:
    """A condition that the field is in front of `value`, or behind it.

    A range is of float64, and may be compared as such or as a whole number, by an index. One beyond 2**53 is therefore
    compared with the next float64 that lies behind it as seen from `value`, and what that leaves out is named.
    """
    if isinstance(value, float) or abs(value) <= _EXACT:
        return {"key": key, "range": {_RANGES[operator]: value}}
    bound = float(value)
    if operator in ("gt", "ge"):
        bound = math.nextafter(bound, math.inf) if bound < value else bound
        left_out = range(value + (operator == "gt"), min(MAX_INT, int(bound + math.ulp(bound))) + 1)
        beyond: Condition = {"key": key, "range": {"gt": bound}}
    else:
        bound = math.nextafter(bound, -math.inf) if bound > value else bound
        left_out = range(max(MIN_INT, int(bound - math.ulp(bound))), value + (operator == "le"))
        beyond = {"key": key, "range": {"lt": bound}}
    return {"should": [beyond, *([{"key": key, "match": {"any": list(left_out)}}] if left_out else [])]}


def _render_any(key: str, comparison: Comparison, values: Sequence[Any]) -> list[Condition]:
    """Conditions of which one holds where the field is one of the values; none for no values."""
    held = [value for value in values if value is not None]
    found: list[Condition] = [{"is_empty": {"key": key}}] * (None in values)
    if comparison.kind in ("str", "int") and len(held) > 1:
        found.append({"key": key, "match": {"any": held}})
    elif comparison.kind == "float":  # a match is of texts, whole numbers and truths
        found += [{"key": key, "range": {"gte": value, "lte": value}} for value in held]
    else:
        found += [{"key": key, "match": {"value": value}} for value in held]
    return found
