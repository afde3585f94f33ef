"""What makes two configurations the same: their kind and their fields, whatever else they carry."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Set
from typing import Any

from pydantic import BaseModel


def are_equal(one: BaseModel, other: BaseModel) -> bool:
    """Whether two models are of one kind and their fields, and what they took besides them, are equal.

    Private attributes, cached properties and whatever else stands in `__dict__` do not count.
    """
    return _kind(one) is _kind(other) and _values(one) == _values(other)


def hash_model(model: BaseModel) -> int:
    """A hash of the same: equal for equal models, whatever lists, dicts and sets their fields hold."""
    return hash((_kind(model), _freeze(_values(model))))


def _kind(model: BaseModel) -> type[BaseModel]:
    """The class; of `Model[int]` what `Model[Any]` has, as Pydantic compares them."""
    return model.__pydantic_generic_metadata__["origin"] or type(model)


def _values(model: BaseModel) -> list[Any]:
    held = model.__dict__
    return [*(held.get(name, ...) for name in type(model).model_fields), model.__pydantic_extra__ or {}]


def _freeze(value: Any) -> Hashable:
    """Something hashable that is equal for equal values: the value itself where it is hashable."""
    try:
        hash(value)
    except TypeError:
        return _freeze_held(value)
    return value  # type: ignore[no-any-return]


def _freeze_held(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((key, _freeze(item)) for key, item in value.items())
    if isinstance(value, Set):
        return frozenset(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_freeze, value))
    if isinstance(value, BaseModel):
        return hash_model(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        compared = [field.name for field in dataclasses.fields(value) if field.compare]
        return tuple(_freeze(getattr(value, name)) for name in compared)
    return hash(type(value))  # it says nothing of how its like compare
