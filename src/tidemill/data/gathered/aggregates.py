"""What is made of the records of a group: counts, sums, extremes, first and last values, lists.

A state of an aggregate is a plain value, made of records one by one, and two of them can be merged: the result is the
same however the records were parted.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from contextlib import suppress
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.subschemas import JsonSchema, add_form, add_short_form
from tidemill.config.wording.words import ChoicesElsewhere
from tidemill.data.records.columns import make_reader
from tidemill.data.records.equality import from_numpy
from tidemill.data.records.keys import digest_key
from tidemill.data.records.ordering import KeyOrder
from tidemill.errors import DataError

How = Literal["count", "sum", "mean", "min", "max", "first", "last", "list", "distinct"]

_ELSEWHERE = ChoicesElsewhere(
    {
        "avg": "mean",
        "average": "mean",
        "total": "sum",
        "minimum": "min",
        "maximum": "max",
        "size": "count",
        "n": "count",
        "len": "count",
        "any_value": "first",
        "collect": "list",
        "collect_list": "list",
        "array_agg": "list",
        "collect_set": "distinct",
        "unique": "distinct",
        **dict.fromkeys(("median", "concat", "nunique", "count_distinct", "distinct_count")),
    }
)
LISTING = ("list", "distinct")
LIMIT = 1000
"""Values that a list holds, unless it says another number."""


class Aggregate(Settings):
    """What is made of a column over the records of a group; a text alone is short for `how`, a pair for it and `of`.

    Attributes:
        how: `count`, of all records or of those with a value; `sum`, `mean`, `min`, `max` of values that are not None;
            the value of the `first` or `last` record; the `list` of values, or of the `distinct` ones, as they came.
        of: the column; of a `count` it may be left out.
        limit: of `list` and `distinct`, values that are kept, the first ones; 1,000 by default.
    """

    how: Annotated[How, _ELSEWHERE]
    of: str | None = None
    limit: int | None = Field(default=None, ge=1)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        written = handler(schema)
        pair = [written["properties"]["how"], {"type": "string"}]
        return add_form(
            add_short_form(written, "how"), {"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2}
        )

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"how": value}
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return {"how": value[0], "of": value[1]}
        return value

    @model_validator(mode="after")
    def _check_fit(self) -> Aggregate:
        if self.of is None and self.how != "count":
            raise PydanticCustomError("aggregate", "expected a column: `[{how}, column]`", {"how": self.how})
        if self.limit is not None and self.how not in LISTING:
            raise PydanticCustomError("aggregate", "limit needs `how` to be one of list and distinct")
        return self


class Accumulator:
    """How one aggregate adds up; checks values against those before them.

    Attributes:
        how: as of the aggregate.
        order: what is checked of the values of `min` and `max`.
        read: a record's value, of `distinct` with its digest: nothing fails that is made of it. Raises DataError: the
            record has none, or one that does not go with the others.
        start: the state of one value, given the number of its record.
        add: the state of a state's records and of one more behind them, given its number and value.
        merge: the state of the records of both, those of the second behind.
        finish: what the group has in the end.

    A state that is given to one of these may be used up by it.

    Args:
        aggregate: which.
        kind: what kind its values are, of one that goes on.
    """

    read: Callable[[Any], Any]
    start: Callable[[int, Any], Any]
    add: Callable[[Any, int, Any], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any]

    def __init__(self, aggregate: Aggregate, kind: str = "") -> None:
        self.how = aggregate.how
        self.order = KeyOrder(kind)
        self.read = _make_reader(aggregate, self.order)
        ways = _make_lists(aggregate) if aggregate.how in LISTING else _WAYS[aggregate.how]
        self.start, self.add, self.merge, self.finish = ways


def _make_reader(aggregate: Aggregate, order: KeyOrder) -> Callable[[Any], Any]:
    """The `read` of an accumulator."""
    name, how = aggregate.of, aggregate.how
    if name is None:
        return lambda record: True
    read = make_reader(name)

    def read_digested(record: Any) -> tuple[bytes, Any]:
        value = read(record)
        return digest_key(value), value

    def read_ordered(record: Any) -> Any:
        value = read(record)
        return None if value is None else order.take(value)

    def read_number(record: Any) -> Any:
        value = read(record)
        if value is None or type(value) in _NUMBERS:
            return value
        value = from_numpy(value)
        if _is_number(value):
            return value
        raise DataError(f"expected a number in `{name}` to {how}, got a {type(value).__name__}")

    checking = {"distinct": read_digested, "min": read_ordered, "max": read_ordered}
    return checking.get(how, read_number if how in ("sum", "mean") else read)


_NUMBERS = frozenset({int, float})

_EXACT = 1 << 53
"""Up to here a float has the value of any integer."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_Ways = tuple[
    Callable[[int, Any], Any], Callable[[Any, int, Any], Any], Callable[[Any, Any], Any], Callable[[Any], Any]
]
"""How a state is started, added to, merged and finished."""

_Sum = tuple[int, int, tuple[float, ...], float]
"""How many values, the integers, floats that come to the others' exact sum, and what is not finite.

The sum is exact, in whatever order it was made. One value alone, or None, is its own state, as most are where groups
are many. Plain values and tuples of them are nothing that the collector of garbage goes through.
"""

_FEW = 16
"""Floats that a state has at most before they are added up."""

_NO_SUM: _Sum = (0, 0, (), 0.0)


def _start_sum(_: int, value: Any) -> Any:
    return value if value is None or type(value) in _NUMBERS else _add_to_sum(_NO_SUM, value)


def _add_number(state: Any, _: int, value: Any) -> Any:
    if value is None:
        return state
    return _start_sum(0, value) if state is None else _add_to_sum(_find_sum(state), value)


def _merge_sums(state: Any, other: Any) -> Any:
    if state is None or type(other) is not tuple:
        return other if state is None else _add_number(state, 0, other)
    count, whole, parts, odd = _find_sum(state)
    return count + other[0], whole + other[1], _shorten(parts + other[2]), odd + other[3]


def _finish_sum(state: Any) -> Any:
    """The number: an integer where all were; None of no values."""
    if type(state) is not tuple:
        return state
    _, whole, parts, odd = state
    if not parts and not odd and odd == odd:
        return int(whole)
    if odd or odd != odd:
        return float(odd)
    if not whole and len(parts) == 1:
        return parts[0]
    if abs(whole) <= _EXACT:
        with suppress(OverflowError):
            if total := math.fsum((*parts, whole)):
                return total
    if not whole and len(parts := _add_parts(parts)) == 1:
        return parts[0]
    exact = sum(map(Fraction, parts), Fraction(whole))
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _finish_mean(state: Any) -> Any:
    total = _finish_sum(state)
    return None if total is None else total / _find_sum(state)[0]


def _find_sum(state: Any) -> _Sum:
    """The whole state of what may be one value."""
    if type(state) is tuple:
        return state
    return _NO_SUM if state is None else _add_to_sum(_NO_SUM, state)


def _add_to_sum(state: _Sum, value: Any) -> _Sum:
    count, whole, parts, odd = state
    if isinstance(value, int):
        return count + 1, whole + value, parts, odd
    if not math.isfinite(value):
        return count + 1, whole, parts, odd + value
    return count + 1, whole, _shorten((*parts, value)), odd


def _shorten(parts: tuple[float, ...]) -> tuple[float, ...]:
    """Floats of the same exact sum, few of them."""
    if len(parts) <= _FEW:
        return parts
    kept: list[float] = []
    try:
        while high := math.fsum((*parts, *kept)):
            kept.append(-high)
    except OverflowError:
        kept = []
    return tuple([-each for each in kept]) or _add_parts(parts)


def _add_parts(parts: Iterable[float]) -> tuple[float, ...]:
    """The parts of a sum that do not overlap: those of Shewchuk (1997), as in `math.fsum`."""
    added: tuple[float, ...] = ()
    for part in parts:
        added = _add_part(added, part)
    return added


def _add_part(parts: tuple[float, ...], value: float) -> tuple[float, ...]:
    kept = []
    for part in parts:
        if abs(value) < abs(part):
            value, part = part, value
        high = value + part
        if math.isinf(high):  # both are kept: together they have no form
            kept.append(part)
            continue
        low = part - (high - value)
        if low:
            kept.append(low)
        value = high
    return (*kept, value)


def _take_least(state: Any, other: Any) -> Any:
    if state is None or other is None:
        return other if state is None else state
    return min(state, other)


def _take_most(state: Any, other: Any) -> Any:
    if state is None or other is None:
        return other if state is None else state
    return max(state, other)


_WAYS: dict[str, _Ways] = {
    "count": (
        lambda _, value: int(value is not None),
        lambda state, _, value: state if value is None else state + 1,
        operator.add,
        lambda state: state,
    ),
    "sum": (_start_sum, _add_number, _merge_sums, _finish_sum),
    "mean": (_start_sum, _add_number, _merge_sums, _finish_mean),
    "min": (
        lambda _, value: value,
        lambda state, _, value: _take_least(state, value),
        _take_least,
        lambda state: state,
    ),
    "max": (
        lambda _, value: value,
        lambda state, _, value: _take_most(state, value),
        _take_most,
        lambda state: state,
    ),
    "first": (
        lambda number, value: (number, value),
        lambda state, number, value: state,
        lambda state, other: state,
        operator.itemgetter(1),
    ),
    "last": (
        lambda number, value: (number, value),
        lambda state, number, value: (number, value),
        lambda state, other: other,
        operator.itemgetter(1),
    ),
}


def _make_lists(aggregate: Aggregate) -> _Ways:
    """The ways of values that are kept, the first ones."""
    limit = aggregate.limit or LIMIT

    def join(state: list[Any], other: list[Any]) -> list[Any]:
        state += other[: limit - len(state)]
        return state

    def unite(state: dict[bytes, Any], other: dict[bytes, Any]) -> dict[bytes, Any]:
        for each in other.items():
            put(state, 0, each)
        return state

    def put(state: dict[bytes, Any], _: int, value: tuple[bytes, Any]) -> dict[bytes, Any]:
        if len(state) < limit:
            state.setdefault(*value)
        return state

    if aggregate.how == "list":
        return lambda _, value: [value], lambda state, _, value: join(state, [value]), join, lambda state: state
    return (
        lambda _, value: put({}, 0, value),
        put,
        unite,
        lambda state: list(state.values()),
    )
