"""Pydantic's adapter of any type, and its shape, made once for each."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter
from pydantic_core import SchemaValidator

from tidemill.config.coercion.annotations import check_annotation, explain_annotation
from tidemill.config.coercion.table import ConfigRules
from tidemill.config.shapes.shape import Shape
from tidemill.errors import ConfigError

DEEP = "tidemill_deep"
"""The attribute of a type whose rules hold in the Pydantic models in it as well."""


def adapt(target: Any) -> TypeAdapter[Any]:
    """What validates a `target`; all but a Pydantic model, which has its own, get the rules of `Config`.

    Raises:
        ConfigError: it is no type, or one whose annotations cannot be understood.
    """
    try:
        return _adapt_once(target, repr(target))
    except TypeError:  # an annotation that holds something unhashable is adapted each time
        return _make_adapter(target)


def make_adapter(target: Any, *annotations: Any) -> TypeAdapter[Any]:
    """Pydantic's own adapter of a `target` with these annotations, and no further rules.

    Raises:
        ConfigError: as of `adapt`.
    """
    check_annotation(target)
    annotated: Any = Annotated[(target, *annotations)] if annotations else target
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotated)
        adapter.rebuild()  # which says what could not be resolved
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        message, hint = explain_annotation(target, error)
    else:
        return adapter
    raise ConfigError(message, hint=hint)


def shape_of(target: Any) -> Shape:
    """What a `target` expects.

    Raises:
        ConfigError: as of `adapt`.
    """
    try:
        return _shape_once(target, repr(target))
    except TypeError:
        return Shape.of(_make_adapter(target).core_schema)


def _make_adapter(target: Any) -> TypeAdapter[Any]:
    is_model = isinstance(target, type) and issubclass(target, BaseModel)
    adapter = make_adapter(target) if is_model else make_adapter(target, ConfigRules())
    if getattr(target, DEEP, False):
        # Pydantic else puts each model's own validator, made without these rules, in the place of its schema.
        adapter.validator = SchemaValidator(adapter.core_schema, _use_prebuilt=False)
    return adapter


@lru_cache(maxsize=256)
def _adapt_once(target: Any, _: str) -> TypeAdapter[Any]:
    """The text tells apart what is equal: `int | float` and `float | int`, which take `"64"` differently."""
    return _make_adapter(target)


@lru_cache(maxsize=256)
def _shape_once(target: Any, text: str) -> Shape:
    return Shape.of(_adapt_once(target, text).core_schema)
