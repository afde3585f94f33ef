"""Numbers that JSON does not have, NaN and infinity: orjson writes null for them, and tells nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

Dump = Callable[[Any], Any]
"""What stands in the JSON for a value of a type that orjson does not know; it raises TypeError for others."""

_NONE = type(None)
_SAFE = frozenset({str, int, bool, _NONE})
_PLAIN = _SAFE | {float, dict, list, tuple}
_MANY = 16
"""Of numbers in a list, from which on their sum is looked at first."""


def find_lost(value: Any, text: bytes, dump: Dump | None = None) -> tuple[str, str] | None:
    """The place of a number that is null in `text`, which orjson made of `value`, and what it is; else None.

    Where `text` has no more nulls than `value` has columns that are None, it is not gone through.
    """
    nulls = text.count(b"null")
    if not nulls or (type(value) is dict and nulls == list(map(type, value.values())).count(_NONE)):
        return None
    return _find_place(value, "$", dump) if _has_lost((value,), dump) else None


def _has_lost(items: Collection[Any], dump: Dump | None) -> bool:
    if len(items) >= _MANY and set(map(type, items)) == {float} and math.isfinite(sum(items)):
        return False
    for item in items:
        kind = type(item)
        if kind in _SAFE:
            continue
        if kind not in _PLAIN:
            item = _open(item, dump)
        if isinstance(item, float):
            if not math.isfinite(item):
                return True
        elif isinstance(item, (dict, list, tuple)) and _has_lost(
            item.values() if isinstance(item, dict) else item, dump
        ):
            return True
    return False


def _open(value: Any, dump: Dump | None) -> Any:
    """What stands in the JSON for an enumeration's member, a dataclass, an array or what `dump` takes."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        return _open(value.value, dump)
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if hasattr(value, "tolist"):
        return value.tolist()
    try:
        return value if dump is None else dump(value)
    except TypeError:  # orjson knows it
        return value


def _find_place(value: Any, path: str, dump: Dump | None) -> tuple[str, str] | None:
    value = _open(value, dump)
    if isinstance(value, float) and not math.isfinite(value):
        return path, str(value)
    return next((lost for place, item in iter_places(value, path) if (lost := _find_place(item, place, dump))), None)


def iter_places(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What a dict or a list holds, each with its place in a JSON text where `path` is that of `value`."""
    if isinstance(value, dict):
        yield from ((f"{path}.{key}", item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
