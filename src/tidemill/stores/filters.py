"""What a filter asks, checked once for every store: each renders the comparisons in its own language."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tidemill.config.wording.suggest import Elsewhere, suggest
from tidemill.config.wording.words import describe_value
from tidemill.data.records.exact import is_utf8
from tidemill.errors import DataError
from tidemill.protocols import Filter
from tidemill.stores.store import FieldKind

Operator = Literal["eq", "ne", "gt", "ge", "lt", "le", "in", "not_in"]

OPERATORS: Final[tuple[Operator, ...]] = ("eq", "ne", "gt", "ge", "lt", "le", "in", "not_in")
_SIGNS: Final[Mapping[str, Operator]] = {
    "=": "eq",
    "==": "eq",
    "is": "eq",
    "equal": "eq",
    "equals": "eq",
    "match": "eq",
    "!=": "ne",
    "<>": "ne",
    "neq": "ne",
    "noteq": "ne",
    "not": "ne",
    "is_not": "ne",
    "not_equal": "ne",
    ">": "gt",
    ">=": "ge",
    "gte": "ge",
    "<": "lt",
    "<=": "le",
    "lte": "le",
    "any": "in",
    "any_of": "in",
    "nin": "not_in",
    "except": "not_in",
    "none_of": "not_in",
}
ELSEWHERE: Final[Elsewhere] = {**_SIGNS, **{f"${name}": ours for name, ours in _SIGNS.items()}}
"""What operators are called in SQL, MongoDB, Qdrant, Chroma and Pinecone."""

ORDERS: Final = frozenset({"gt", "ge", "lt", "le"})
MIN_INT, MAX_INT = -(2**63), 2**63 - 1
"""What a field of whole numbers holds: 64 bits, in every store."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that a field has to be; all of a filter's hold at once.

    A record that lacks the field has None there. `ne` and `not_in` are what `eq` and `in` are not: they let a record
    without the field pass, unless None is what they name. An order lets no record without the field pass.

    Attributes:
        field: its name.
        kind: what it holds.
        operator: how it is compared; the orders are of numbers, and of texts by code point.
        value: what with: of the field's kind, or None for `eq` and `ne`.
        values: what with, for `in` and `not_in`; may be empty, and None may be among them.
    """

    field: str
    kind: FieldKind
    operator: Operator
    value: Any = None
    values: tuple[Any, ...] = ()

    def passes(self, payload: Mapping[str, Any]) -> bool:
        """Whether a record of that payload passes: what every store's own language has to agree with."""
        held = payload.get(self.field)
        if self.operator in ("in", "not_in"):
            return (held in self.values) is (self.operator == "in")
        if self.operator in ("eq", "ne"):
            return bool(held == self.value) is (self.operator == "eq")
        return held is not None and _ORDERED[self.operator](held, self.value)


_ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": lambda held, value: held > value,
    "ge": lambda held, value: held >= value,
    "lt": lambda held, value: held < value,
    "le": lambda held, value: held <= value,
}


def parse_filter(filter: Filter | None, fields: Mapping[str, FieldKind]) -> tuple[Comparison, ...]:
    """The comparisons that `filter` is made of, in its order; none where there is no filter.

    Raises:
        DataError: it names a field or an operator that there is not, or compares with what the field cannot hold.
    """
    if filter is None:
        return ()
    if not isinstance(filter, Mapping):
        raise DataError(f"expected a filter, a mapping of fields, got {describe_value(filter)}", where="filter")
    found: list[Comparison] = []
    for name, asked in filter.items():
        kind = fields.get(name)
        if kind is None:
            hint = suggest(str(name), fields) or "declare it under the store's `fields`"
            raise DataError(f"the store has no field `{name}` to filter by", where="filter", hint=hint)
        where = f"filter.{name}"
        if isinstance(asked, Mapping):
            if not asked:
                raise DataError("expected an operator and what it compares with, got none", where=where)
            found.extend(_parse_comparison(name, kind, operator, value, where) for operator, value in asked.items())
        elif isinstance(asked, (list, tuple, set, frozenset)):
            found.append(_parse_comparison(name, kind, "in", asked, where))
        else:
            found.append(_parse_comparison(name, kind, "eq", asked, where))
    return tuple(found)


def _parse_comparison(field: str, kind: FieldKind, operator: Any, value: Any, where: str) -> Comparison:
    if operator not in OPERATORS:
        hint = suggest(str(operator), OPERATORS, elsewhere=ELSEWHERE)
        raise DataError(f"there is no operator `{operator}`", where=where, hint=hint)
    if operator in ("in", "not_in"):
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise DataError(f"`{operator}` takes a list, got {describe_value(value)}", where=where)
        values = tuple(dict.fromkeys(None if each is None else _check_value(each, kind, where) for each in value))
        return Comparison(field, kind, operator, values=values)
    if operator in ORDERS and (value is None or kind == "bool"):
        what = "None" if value is None else "a bool"
        raise DataError(f"`{operator}` has no order of {what}", where=where, hint="compare by `eq` or `ne`")
    return Comparison(field, kind, operator, None if value is None else _check_value(value, kind, where))


def _check_value(value: Any, kind: FieldKind, where: str) -> Any:
    taken = take_value(value, kind)
    if taken is None:
        raise DataError(f"the field holds {DESCRIBED[kind]}, got {describe_value(value)}", where=where)
    return taken


DESCRIBED: Final[Mapping[FieldKind, str]] = {
    "str": "a text",
    "int": "a whole number of 64 bits",
    "float": "a finite number",
    "bool": "true or false",
}


def take_value(value: Any, kind: FieldKind) -> Any:
    """The value as a field of that kind holds it; None where it cannot: nothing is guessed, `"1"` is no number."""
    if kind == "str":
        return str(value) if isinstance(value, str) and is_utf8(value) else None
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind == "int":
        return int(value) if value == value // 1 and MIN_INT <= value <= MAX_INT else None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
