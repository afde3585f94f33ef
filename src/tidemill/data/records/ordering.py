"""Which keys sort among each other: all of one kind, told by the first."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

from tidemill.data.records.equality import from_numpy
from tidemill.errors import DataError

_KINDS: dict[type, str] = {
    bool: "number",
    int: "number",
    float: "number",
    decimal.Decimal: "number",
    str: "text",
    bytes: "bytes",
    datetime.date: "date",
    datetime.time: "time of day",
    datetime.timedelta: "duration",
    uuid.UUID: "UUID",
}
_SAFE = frozenset({int, str, bytes, bool})
"""Of which any two values compare."""

_PLAIN = frozenset(_KINDS)
"""Kinds that hold nothing of NumPy."""


class KeyOrder:
    """Takes keys that sort among each other.

    Attributes:
        kind: what kind they are, in words; empty before the first.
    """

    def __init__(self, kind: str = "") -> None:
        self.kind = kind
        self._last: type | None = None

    def take(self, key: Any) -> Any:
        """`key` as it is compared with the others: scalars of NumPy as their Python values.

        Raises:
            DataError: it is of another kind than the first, or of one that has no order.
        """
        if type(key) is self._last:
            return key
        if type(key) not in _KINDS:
            key = _to_python(key)
        kind = find_kind(key)
        if self.kind and kind != self.kind:
            raise DataError(
                f"expected a key that is a {self.kind}, as the first one is, got a {kind}: {_show(key)}",
                hint="give all keys one type: with a function as the key, or in a step in front",
            )
        self.kind = kind
        self._last = type(key) if type(key) in _SAFE else None
        return key


def _to_python(key: Any) -> Any:
    if not isinstance(key, (tuple, list)):
        return from_numpy(key)
    return key if _PLAIN.issuperset(map(type, key)) else _find_base(key)(map(_to_python, key))


def _find_base(key: tuple[Any, ...] | list[Any]) -> type[tuple[Any, ...] | list[Any]]:
    """A class derived from a tuple, as a named one, compares as that."""
    return list if isinstance(key, list) else tuple


def find_kind(key: Any) -> str:
    """What a key sorts among, in words.

    Raises:
        DataError: it has no order.
    """
    if isinstance(key, (tuple, list)):
        return f"{_find_base(key).__name__} of ({', '.join(map(find_kind, key))})"
    if isinstance(key, (float, decimal.Decimal)) and key != key:
        raise DataError("expected a key that has an order, got nan", hint="filter such records, or give them a value")
    if isinstance(key, datetime.datetime):
        return "time without a zone" if key.tzinfo is None else "time with a zone"
    for each in type(key).__mro__:
        if each in _KINDS:
            return _KINDS[each]
    if key is None:
        hint = 'say where it belongs, as with the key `lambda record: (record["x"] is None, record["x"] or 0)`'
        raise DataError("expected a key that has an order, got None", hint=hint)
    raise DataError(f"expected a key that has an order, got a {type(key).__name__}", hint="name a number or a text")


def _show(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 60 else f"{text[:59]}…"
