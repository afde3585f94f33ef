"""What is made of the records of a group: counts, sums, extremes, first and last values, lists.

A state of an aggregate is a plain value, made of records one by one, and two of them can be merged: the result is the
same however the records were parted.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.config.model import Config
from tidemill.config.subschemas import JsonSchema, add_form, add_short_form
from tidemill.data.columns import read_column
from tidemill.data.kept.ordering import KeyOrder
from tidemill.data.keys import digest_key
from tidemill.errors import DataError

How = Literal["count", "sum", "mean", "min", "max", "first", "last", "list", "distinct"]
LISTING = ("list", "distinct")
LIMIT = 1000
"""Values that a list holds, unless it says another number."""


class Aggregate(Config):
    """What is made of a column over the records of a group; a text alone is short for `how`, a pair for it and `of`.

    Attributes:
        how: `count`, of all records or of those with a value; `sum`, `mean`, `min`, `max` of values that are not None;
            the value of the `first` or `last` record; the `list` of values, or of the `distinct` ones, as they came.
        of: the column; of a `count` it may be left out.
        limit: of `list` and `distinct`, values that are kept, the first ones; 1,000 by default.
    """

    how: How
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

    Args:
        aggregate: which.
        kind: what kind its values are, of one that goes on.
    """

    def __init__(self, aggregate: Aggregate, kind: str = "") -> None:
        self._of = aggregate.of
        self.order = KeyOrder(kind)
        self.how = aggregate.how
        self.limit = aggregate.limit or LIMIT

    def read(self, record: Any) -> Any:
        """The record's value.

        Raises:
            DataError: it has none, or one that does not go with the others.
        """
        if self._of is None:
            return True
        value = read_column(record, self._of)
        if value is None:
            return None
        if self.how in ("min", "max"):
            self.order.check(value)
        elif self.how in ("sum", "mean") and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise DataError(f"expected a number in `{self._of}` to {self.how}, got a {type(value).__name__}")
        return value

    def start(self, number: int, value: Any) -> Any:
        """The state of one record, of that number."""
        match self.how:
            case "count":
                return int(value is not None)
            case "sum" | "mean":
                return add_number([0, 0, [], 0.0], value)
            case "first" | "last":
                return [number, value]
            case "list":
                return [value]
            case "distinct":
                return {digest_key(value): value}
        return value

    def merge(self, state: Any, other: Any) -> Any:
        """The state of the records of both, those of `other` behind; `state` is used up."""
        match self.how:
            case "count":
                return state + other
            case "sum" | "mean":
                return merge_sums(state, other)
            case "first":
                return state
            case "last":
                return other
            case "list":
                state += other[: self.limit - len(state)]
                return state
            case "distinct":
                for digest, value in other.items():
                    if len(state) < self.limit:
                        state.setdefault(digest, value)
                return state
        if state is None or other is None:
            return other if state is None else state
        return min(state, other) if self.how == "min" else max(state, other)

    def finish(self, state: Any) -> Any:
        """What the group has in the end."""
        match self.how:
            case "sum":
                return finish_sum(state)
            case "mean":
                return finish_sum(state) / state[0] if state[0] else None
            case "first" | "last":
                return state[1]
            case "distinct":
                return list(state.values())
        return state


def add_number(state: list[Any], value: Any) -> list[Any]:
    """Add to a sum: how many values, the integers, the floats as parts that do not overlap, what is not finite.

    The parts are those of Shewchuk (1997), as in `math.fsum`: the sum is exact, in whatever order it was made.
    """
    if value is None:
        return state
    state[0] += 1
    if isinstance(value, int):
        state[1] += value
    elif not math.isfinite(value):
        state[3] += value
    else:
        state[2] = _add_part(state[2], value)
    return state


def merge_sums(state: list[Any], other: list[Any]) -> list[Any]:
    """One sum and another."""
    state[0] += other[0]
    state[1] += other[1]
    for part in other[2]:
        state[2] = _add_part(state[2], part)
    state[3] += other[3]
    return state


def finish_sum(state: list[Any]) -> int | float | None:
    """The number: an integer where all were; None of no values."""
    count, whole, parts, odd = state
    if not count:
        return None
    if not parts and not odd and odd == odd:
        return int(whole)
    if odd or odd != odd:
        return float(odd)
    return float(sum(map(Fraction, parts), Fraction(whole))) if whole else math.fsum(parts)


def _add_part(parts: list[float], value: float) -> list[float]:
    kept = []
    for part in parts:
        if abs(value) < abs(part):
            value, part = part, value
        high = value + part
        low = part - (high - value)
        if low:
            kept.append(low)
        value = high
    kept.append(value)
    return kept
