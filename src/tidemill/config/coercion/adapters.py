"""Pydantic's adapter of any type, and its shape, made once for each."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter

from tidemill.config.coercion.table import ConfigRules
from tidemill.config.shapes.shape import Shape


def adapt(target: Any) -> TypeAdapter[Any]:
    """What validates a `target`; all but a Pydantic model, which has its own, get the rules of `Config`."""
    try:
        return _adapt_once(target, repr(target))
    except TypeError:  # an annotation that holds something unhashable is adapted each time
        return _make_adapter(target)


def shape_of(target: Any) -> Shape:
    """What a `target` expects."""
    try:
        return _shape_once(target, repr(target))
    except TypeError:
        return Shape.of(_make_adapter(target).core_schema)


def _make_adapter(target: Any) -> TypeAdapter[Any]:
    is_model = isinstance(target, type) and issubclass(target, BaseModel)
    safe: Any = target if is_model else Annotated[target, ConfigRules()]
    return TypeAdapter(safe)


@lru_cache(maxsize=256)
def _adapt_once(target: Any, _: str) -> TypeAdapter[Any]:
    """The text tells apart what is equal: `int | float` and `float | int`, which take `"64"` differently."""
    return _make_adapter(target)


@lru_cache(maxsize=256)
def _shape_once(target: Any, text: str) -> Shape:
    return Shape.of(_adapt_once(target, text).core_schema)
