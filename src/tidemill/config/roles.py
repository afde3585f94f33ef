"""Which fields of a configuration decide its result, told by the fields themselves."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel, SecretBytes, SecretStr


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """Annotation of a field that makes no difference to the result: how fast, how long, at what price, where.

    Two configurations that differ in such fields alone have one `fingerprint`, and a run goes on after a change of
    them: `num_workers: Annotated[int, Runtime()] = Field(4, ge=0)`. All that stands below one counts as it does.
    """


_known: WeakKeyDictionary[type[Any], tuple[str, ...]] = WeakKeyDictionary()
"""What `result_fields` found, for as long as the class is there."""


def result_fields(kind: type[Any]) -> tuple[str, ...]:
    """The names of the fields of a model or dataclass that decide the result, in their order.

    Those that are `Runtime` do not, nor do those whose type is a secret's, as `SecretStr` or a list of them.
    """
    known = _known.get(kind)
    if known is None:
        fields = _iter_fields(kind)
        known = tuple(name for name, hint, marks in fields if not _is_runtime(marks) and not _is_secret(hint))
        if getattr(kind, "__pydantic_complete__", True):  # else some types are names yet, which may become a secret's
            _known[kind] = known
    return known


def _iter_fields(kind: type[Any]) -> Iterator[tuple[str, Any, Iterable[Any]]]:
    """The name, type and annotations of each field."""
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield name, field.annotation, field.metadata
    else:
        hints = typing.get_type_hints(kind, include_extras=True)
        for each in dataclasses.fields(kind):
            hint = hints[each.name]
            marks = getattr(hint, "__metadata__", ())
            yield each.name, typing.get_args(hint)[0] if marks else hint, marks


def _is_runtime(marks: Iterable[Any]) -> bool:
    return any(mark is Runtime or isinstance(mark, Runtime) for mark in marks)


def _is_secret(hint: Any) -> bool:
    """Whether it is a secret type, or made of one at any depth."""
    return any(each is SecretStr or each is SecretBytes for each in _iter_types(hint))


def _iter_types(hint: Any) -> Iterator[Any]:
    """A type and all that it is made of: `list[SecretStr] | None` of `SecretStr`, too."""
    yield hint
    for each in typing.get_args(getattr(hint, "__value__", hint)):  # that of a `type` statement
        yield from _iter_types(each)
