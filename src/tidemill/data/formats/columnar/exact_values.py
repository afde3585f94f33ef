"""Which dates, times and bytes a column holds as they are: Arrow takes others for them, and tells nothing.

It cuts a time of day from a date and its zone from a time, takes a time without a zone for one of UTC, a whole number
for microseconds since 1970, and text for its bytes. Where the type of a column is settled, it cuts numbers as well, and
takes bytes for text and text for a list (pyarrow 26).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import chain
from numbers import Integral
from types import NoneType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_STEP_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_PYTHON_NS = 1_000
"""The step of Python's own times and durations."""
_BYTES = (bytes, bytearray, memoryview)


def find_changed(values: Sequence[Any], kind: pa.DataType) -> Any | None:
    """The first of `values` that a column of `kind` would hold as another value; None where there is none.

    Of a kind that is neither of dates, times or durations nor of bytes, nothing is looked at.
    """
    column = _find_column(kind)
    if column is None or column.holds_all(values):
        return None
    return next((value for value in values if value is not None and not column.holds(value)), None)


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
            return _is_arrow(value)
        if self.has_zone is not None and (getattr(value, "tzinfo", None) is not None) != self.has_zone:
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
    if any(
        is_a(kind)
        for is_a in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    ):
        return _Column(_BYTES)
    return None


def _is_arrow(value: Any) -> bool:
    """Whether it is a value of Arrow's own, which Arrow takes in its own type alone."""
    import pyarrow as pa

    return isinstance(value, pa.Scalar)


def _count_ns(value: Any) -> Any:
    """Nanoseconds of a time or duration beyond its seconds; pandas has some beside the microseconds."""
    if isinstance(value, timedelta):
        return value.microseconds * 1_000 + getattr(value, "nanoseconds", 0)
    return value.microsecond * 1_000 + getattr(value, "nanosecond", 0)


def find_changed_record(values: Sequence[Any], kind: pa.DataType, *, is_given: bool = False) -> tuple[int, Any] | None:
    """The number of the first of `values` in which something would be changed, and what; arguments as below."""
    if find_changed_within(values, kind, is_given=is_given) is None:  # a column at a time for speed
        return None
    each = (find_changed_within([value], kind, is_given=is_given) for value in values)
    return next((number, changed) for number, changed in enumerate(each) if changed is not None)


def find_changed_within(values: Sequence[Any], kind: pa.DataType, *, is_given: bool = False) -> Any | None:
    """The first value that would be changed, at any depth of a column; among floats True and False, too.

    Args:
        is_given: whether `kind` is not the one that Arrow found for these values: then it also cuts numbers to whole
            ones, takes bytes for text, either for a list, and drops keys that a struct has not.
    """
    from pyarrow import types

    if types.is_struct(kind):
        return _find_in_structs(values, kind, is_given=is_given)
    if _is_list(kind):
        return _find_in_lists(values, kind, is_given=is_given)
    if types.is_map(kind):
        return _find_in_maps(values, kind, is_given=is_given)
    if types.is_dictionary(kind):
        return find_changed_within(values, kind.value_type, is_given=is_given)
    if types.is_floating(kind):
        return next((value for value in values if type(value) is bool), None) if bool in map(type, values) else None
    if types.is_integer(kind):
        return _find_cut(values) if is_given else None
    if _is_text(kind):
        return _find_bytes(values) if is_given else None
    return find_changed(values, kind)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    any_length = types.is_list(kind) or types.is_large_list(kind)
    return any_length or types.is_fixed_size_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _find_cut(values: Sequence[Any]) -> Any | None:
    if set(map(type, values)) <= {int, NoneType}:
        return None
    return next((value for value in values if not _is_whole(value)), None)


def _is_whole(value: Any) -> bool:
    """Whether it is None or a whole number of any type: 3.0, which is 3, and no True."""
    if isinstance(value, (Integral, NoneType)):
        return not isinstance(value, bool)
    return _is_arrow(value) or bool(value == int(value))


def _find_bytes(values: Sequence[Any]) -> Any | None:
    if set(map(type, values)) <= {str, NoneType}:
        return None
    return next((value for value in values if isinstance(value, _BYTES)), None)


def _find_in_structs(values: Sequence[Any], kind: Any, *, is_given: bool) -> Any | None:
    structs = [value for value in values if isinstance(value, dict)]
    names = [field.name for field in kind]
    if is_given and len(structs) < len(values):
        pairs = next((value for value in values if isinstance(value, (list, tuple))), None)
        if pairs is not None:
            return pairs
    if is_given and not set(names).issuperset(chain.from_iterable(structs)):
        return next(value for value in structs if not set(names).issuperset(value))
    for name, field in zip(names, kind, strict=True):
        found = find_changed_within([value.get(name) for value in structs], field.type, is_given=is_given)
        if found is not None:
            return found
    return None


def _find_in_lists(values: Sequence[Any], kind: Any, *, is_given: bool) -> Any | None:
    from pyarrow import types

    inner = kind.value_type
    if not is_given and (types.is_integer(inner) or _is_text(inner)):  # as Arrow takes no others for them
        return None
    lists = [value for value in values if isinstance(value, (list, tuple, set, frozenset))]
    if is_given and len(lists) < len(values):
        text = next((value for value in values if isinstance(value, (str, *_BYTES))), None)
        if text is not None:  # it would be a list of its parts
            return text
        same = "iuf" if types.is_floating(inner) else "iu" if types.is_integer(inner) else ""
        lists += [_to_list(value) for value in values if hasattr(value, "dtype") and value.dtype.kind not in same]
    if _hold_all(lists, inner):
        return None
    return find_changed_within(list(chain.from_iterable(lists)), inner, is_given=is_given)


def _hold_all(lists: Sequence[Collection[Any]], inner: Any) -> bool:
    """Whether what is in the lists are numbers and texts alone of which no column changes any; for speed."""
    from pyarrow import types

    if types.is_floating(inner):
        return not any(bool in map(type, each) for each in lists)
    plain = int if types.is_integer(inner) else str if _is_text(inner) else None
    return plain is not None and set(map(type, chain.from_iterable(lists))) <= {plain, NoneType}


def _to_list(array: Any) -> list[Any]:
    """What an array holds; of numbers Python's, of others NumPy's own."""
    return array.tolist() if array.dtype.kind in "bf" else list(array)


def _find_in_maps(values: Sequence[Any], kind: Any, *, is_given: bool) -> Any | None:
    held = [value.items() if isinstance(value, dict) else value for value in values if value is not None]
    keys, items = list(zip(*chain.from_iterable(held), strict=True)) or ((), ())
    found = find_changed_within(keys, kind.key_type, is_given=is_given)
    return find_changed_within(items, kind.item_type, is_given=is_given) if found is None else found


def refine(kind: pa.DataType, values: Sequence[Any]) -> pa.DataType:
    """`kind`, of times or durations the one of nanoseconds where pandas has some among the values."""
    import pyarrow as pa

    if not (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)):
        return kind
    if set(map(type, values)) <= {datetime, timedelta, NoneType}:
        return kind
    if not any(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0) for value in values):
        return kind
    return pa.timestamp("ns", kind.tz) if pa.types.is_timestamp(kind) else pa.duration("ns")


def infer_array(values: Sequence[Any]) -> pa.Array[Any]:
    """The values as a column of the type that Arrow finds for them, of nanoseconds where pandas has some among them.

    Raises (what Arrow raises): they have no one type.
    """
    import pyarrow as pa

    converted: pa.Array[Any] = pa.array(values)
    kind = refine(converted.type, values)
    return converted if kind == converted.type else pa.array(values, kind)


def can_unify(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether a type that Arrow finds for both holds the values of both: not of text and bytes, decimals and floats."""
    from pyarrow import types

    if types.is_struct(one) and types.is_struct(other):
        shared = {field.name for field in one} & {field.name for field in other}
        return all(can_unify(one.field(name).type, other.field(name).type) for name in shared)
    if types.is_list(one) and types.is_list(other):
        return can_unify(one.value_type, other.value_type)
    pairs = ((types.is_string, types.is_binary), (types.is_decimal, types.is_floating))
    return not any((is_a(one) and is_b(other)) or (is_b(one) and is_a(other)) for is_a, is_b in pairs)
