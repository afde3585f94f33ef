"""What a filter asks, as PostgreSQL has it: conditions on the columns of the fields."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from psycopg import sql

from tidemill.stores.filters import Comparison
from tidemill.stores.store import FieldKind

TYPES: Final[Mapping[FieldKind, str]] = {"str": "text", "int": "bigint", "float": "double precision", "bool": "boolean"}
"""What a field's column is of."""

_SYMBOLS: Final = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_MAX_PLAIN_BYTES: Final = 50

Condition = tuple[sql.Composable, list[Any]]
"""A condition and what is given for its marks."""


def name_column(field: str) -> str:
    """The column of a field: apart from the table's own, and no longer than an identifier may be.

    >>> name_column("year")
    'field_year'
    """
    encoded = field.encode()
    return f"field_{field}" if len(encoded) <= _MAX_PLAIN_BYTES else f"field_{hashlib.sha256(encoded).hexdigest()[:32]}"


def render_conditions(comparisons: Sequence[Comparison]) -> Condition:
    """The condition that all of them hold; TRUE for none."""
    conditions: list[sql.Composable] = []
    given: list[Any] = []
    for comparison in comparisons:
        condition, values = _render(comparison)
        conditions.append(condition)
        given += values
    return (sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("TRUE")), given


def _render(comparison: Comparison) -> Condition:
    column = sql.Identifier(name_column(comparison.field))
    kind = sql.SQL(TYPES[comparison.kind])
    value, operator = comparison.value, comparison.operator
    if operator in ("in", "not_in"):
        return _RENDERED[operator](column, kind, comparison.values)
    if operator in ("eq", "ne"):
        return _RENDERED["in" if operator == "eq" else "not_in"](column, kind, (value,))
    symbol = _SYMBOLS[operator]
    if isinstance(value, str) and "\0" in value:
        # No text in the database has NUL, the lowest there is: `x > "a\0b"` where `x > "a"`, `x < "a\0b"` where `<=`.
        value, symbol = value.partition("\0")[0], ">" if symbol.startswith(">") else "<="
    return sql.SQL("{} {} %s::{}").format(column, sql.SQL(symbol), kind), [value]


def _render_in(column: sql.Composable, kind: sql.Composable, values: Sequence[Any]) -> Condition:
    """`column` is one of them; without a value it is None."""
    held = [value for value in values if value is not None and not _has_nul(value)]
    conditions = [sql.SQL("{} IS NULL").format(column)] * (None in values)
    conditions += [sql.SQL("{} = ANY(%s::{}[])").format(column, kind)] * bool(held)
    if not conditions:
        return sql.SQL("FALSE"), []
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions)), [held] * bool(held)


def _render_not_in(column: sql.Composable, kind: sql.Composable, values: Sequence[Any]) -> Condition:
    """What `_render_in` is not, which lets what has no value pass where None is not among them."""
    held = [value for value in values if value is not None and not _has_nul(value)]
    if None in values:
        conditions = [sql.SQL("{} IS NOT NULL").format(column)]
        conditions += [sql.SQL("{} <> ALL(%s::{}[])").format(column, kind)] * bool(held)
        return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions)), [held] * bool(held)
    if not held:
        return sql.SQL("TRUE"), []
    return sql.SQL("({} IS NULL OR {} <> ALL(%s::{}[]))").format(column, column, kind), [held]


_RENDERED: Final[Mapping[str, Callable[[sql.Composable, sql.Composable, Sequence[Any]], Condition]]] = {
    "in": _render_in,
    "not_in": _render_not_in,
}


def _has_nul(value: Any) -> bool:
    """Whether no text in the database can be it."""
    return isinstance(value, str) and "\0" in value
