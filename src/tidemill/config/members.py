"""What a configuration at hand holds, under the keys of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel

from tidemill.config.paths import KeyPath, split_label


def iter_members(value: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and values of a model, a dataclass or a mapping, indices and items of a list."""
    if isinstance(value, BaseModel):
        given = list_keys(type(value))
        yield from ((given.get(name, name), getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))


def find_path(value: Any, label: str) -> KeyPath:
    """The key path a dotted label means in a configuration."""
    return split_label(label, value, _list_keys, _enter)


def _list_keys(value: Any) -> dict[str, Any] | None:
    if isinstance(value, (list, tuple)):
        return None
    return {str(key): key for key in value} if isinstance(value, Mapping) else {}


def _enter(value: Any, item: str | int) -> Any:
    if isinstance(value, (list, tuple)):
        return value[item] if isinstance(item, int) and item < len(value) else None
    if isinstance(value, Mapping):
        return value.get(item)
    return getattr(value, find_field(type(value), item) if isinstance(value, BaseModel) else str(item), None)


def find_field(kind: type[BaseModel], item: str | int) -> str:
    """The name of the field that is given as `item`."""
    return list_aliases(kind).get(str(item), str(item))


def list_aliases(kind: type[BaseModel]) -> dict[str, str]:
    """The name of each field that is given under another, by all its keys."""
    fields = kind.model_fields.items()
    return {key: name for name, field in fields for key in _list_texts(field.validation_alias)}


def list_keys(kind: type[BaseModel]) -> dict[str, str]:
    """The key of each field that is given under another than its name; of several the first."""
    return {name: key for key, name in reversed(list_aliases(kind).items())}


def _list_texts(alias: str | AliasPath | AliasChoices | None) -> list[str]:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [each for each in choices if isinstance(each, str)]
