"""Which dates, times and bytes a column holds as they are: Arrow takes others for them, and tells nothing.

It cuts a time of day from a date and its zone from a time, takes a time without a zone for one of UTC, a whole number
for microseconds since 1970, and text for its bytes (pyarrow 26).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from types import NoneType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_STEP_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_PYTHON_NS = 1_000
"""The step of Python's own times and durations."""


def find_changed(values: Sequence[Any], kind: pa.DataType) -> tuple[Any] | None:
    """The first of `values` that a column of `kind` would hold as another value, in a tuple; None where there is none.

    Of a kind that is neither of dates, times or durations nor of bytes, nothing is looked at.
    """
    column = _find_column(kind)
    if column is None or column.holds_all(values):
        return None
    return next(((value,) for value in values if value is not None and not column.holds(value)), None)


@dataclass(frozen=True, slots=True)
class _Column:
    """What a column holds: values of some types, in steps of so many nanoseconds, all with a zone or all without."""

    taken: tuple[type, ...]
    other: tuple[type, ...] = ()
    numpy: str = ""
    step_ns: int = 1
    has_zone: bool | None = None

    def holds_all(self, values: Sequence[Any]) -> bool:
        """Whether all are of the one type of Python's own, and held; a column at a time for speed."""
        if not set(map(type, values)) <= {self.taken[0], NoneType} or self.step_ns > _PYTHON_NS:
            return False
        if self.has_zone is None:
            return True
        return {value.tzinfo is not None for value in values if value is not None} <= {self.has_zone}

    def holds(self, value: Any) -> bool:
        """Whether one value is held as it is; Arrow takes NumPy's dates and durations in its own unit alone."""
        numpy = sys.modules.get("numpy")
        if self.numpy and numpy is not None and isinstance(value, getattr(numpy, self.numpy)):
            return not self.has_zone
        if not isinstance(value, self.taken) or isinstance(value, self.other):
            return False
        if self.has_zone is not None and (value.tzinfo is not None) != self.has_zone:
            return False
        return self.step_ns == 1 or _count_ns(value) % self.step_ns == 0


def _find_column(kind: Any) -> _Column | None:
    from pyarrow import types

    if types.is_timestamp(kind):
        return _Column((datetime,), numpy="datetime64", step_ns=_STEP_NS[kind.unit], has_zone=kind.tz is not None)
    if types.is_date(kind):
        return _Column((date,), other=(datetime,))
    if types.is_time(kind):
        return _Column((time,), step_ns=_STEP_NS[kind.unit], has_zone=False)
    if types.is_duration(kind):
        return _Column((timedelta,), numpy="timedelta64", step_ns=_STEP_NS[kind.unit])
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _Column((bytes, bytearray, memoryview))
    return None


def _count_ns(value: Any) -> Any:
    """Nanoseconds of a time or duration beyond its seconds; pandas has some beside the microseconds."""
    if isinstance(value, timedelta):
        return value.microseconds * 1_000 + getattr(value, "nanoseconds", 0)
    return value.microsecond * 1_000 + getattr(value, "nanosecond", 0)


def has_nanoseconds(values: Sequence[Any]) -> bool:
    """Whether there are times or durations of pandas among them that microseconds do not hold."""
    return any(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0) for value in values)
