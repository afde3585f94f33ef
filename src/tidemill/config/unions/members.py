"""The members of a tagged union: which classes they are, and what of the tag is theirs."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from pydantic import GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from tidemill.config.shapes.shape import Shape


@dataclass(frozen=True)
class Member:
    """A class of a union.

    Attributes:
        own: what its own field of the key's name takes by tag: nothing when that takes any text; None without a field.
    """

    cls: Any
    schema: CoreSchema
    own: Mapping[Any, Any] | None

    @classmethod
    def of(cls, annotation: Any, handler: GetCoreSchemaHandler, key: str) -> Member:
        """The member that an annotation stands for."""
        schema = handler.generate_schema(annotation)
        target = typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
        try:
            shape: Shape | None = Shape.of(handler.resolve_ref_schema(schema))
        except LookupError:  # the class is being made: it holds the union itself
            shape = None
        return cls(target, schema, _find_own(target, shape, key))

    @classmethod
    def of_loaded(cls, target: Any, schema: CoreSchema, shape: Shape, key: str) -> Member:
        """The member that a class is; `shape` is that of its whole schema."""
        return cls(target, schema, _find_own(target, shape, key))


def pass_tag(key: str, own: Mapping[Any, Any] | None, value: Any) -> Any:
    """What a member's class is given: the tag where it has a field for it, as that takes it."""
    if not isinstance(value, Mapping):
        return value
    if own is None:
        return {name: each for name, each in value.items() if name != key}
    return {**value, key: own.get(value[key], next(iter(own.values())))} if own else value


def split_union(source: Any) -> tuple[list[Any], bool]:
    """The members of an annotation, and whether null is one."""
    while hasattr(source, "__value__"):  # what a `type` statement names
        source = source.__value__
    members = list(typing.get_args(source)) if typing.get_origin(source) in (Union, UnionType) else [source]
    return [each for each in members if each is not NoneType], NoneType in members


def _find_own(cls: Any, shape: Shape | None, key: str) -> Mapping[Any, Any] | None:
    if shape is not None:
        field = shape.fields.get(key)
        return None if field is None else _by_tag(field.choices)
    fields: Mapping[str, FieldInfo] = getattr(cls, "__pydantic_fields__", {})
    names = {field.alias or name: field.annotation for name, field in fields.items()} or typing.get_type_hints(cls)
    return _find_literals(names[key]) if key in names else None


def _find_literals(annotation: Any) -> Mapping[Any, Any]:
    """The values of a `Literal` by their tags, none of any other annotation."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return _by_tag(typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ())


def _by_tag(values: Iterable[Any]) -> Mapping[Any, Any]:
    return {to_tag(value): value for value in values}


def to_tag(value: Any) -> Any:
    """The tag as a file says it: of an enum's member the value."""
    return value.value if isinstance(value, Enum) else value
