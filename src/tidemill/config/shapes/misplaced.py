"""What may be a secret where none is expected: one text in place of a list of secrets, or of a section with some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidemill.config.paths import KeyPath
from tidemill.config.shapes.shape import Shape

_KINDS = frozenset(
    {
        *("dataclass_type", "dict_type", "mapping_type", "model_attributes_type", "model_type", "named_tuple_type"),
        *("frozen_set_type", "iterable_type", "list_type", "set_type", "tuple_type"),
    }
)
"""Pydantic's names for the errors of a value that is no section or list at all."""


def iter_misplaced(errors: Iterable[Mapping[str, Any]], shape: Shape) -> Iterator[KeyPath]:
    """The paths of values that are no section or list, where one that holds secrets is expected: `tokens: abc`.

    Args:
        errors: Pydantic's own, as its `.errors()` has them, of a value of `shape`.
    """
    for each in errors:
        given = each.get("input", ...)
        if each["type"] in _KINDS and given is not None and not isinstance(given, bool):
            walk = shape.walk(tuple(each["loc"]))
            if walk.shape is not None and walk.shape.holds_secret():
                yield walk.path
