"""What a configuration at hand holds, under the keys of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from tidemill.config.paths import KeyPath


def iter_members(value: Any) -> Iterator[tuple[Any, Any]]:
    """Keys and values of a model, a dataclass or a mapping, indices and items of a list."""
    if isinstance(value, BaseModel):
        given = {name: alias for alias, name in list_aliases(type(value)).items()}
        yield from ((given.get(name, name), getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))


def find_path(value: Any, label: str) -> KeyPath:
    """The key path a dotted label means in a configuration: a key that itself holds dots is found where it exists."""
    parts = label.split(".")
    path: list[str | int] = []
    while parts:
        keys = value if isinstance(value, Mapping) else {}
        size = next((n for n in range(len(parts), 1, -1) if ".".join(parts[:n]) in keys), 1)
        item: Any = ".".join(parts[:size])
        del parts[:size]
        if isinstance(value, (list, tuple)):
            item = int(item) if item.isdecimal() else item
            value = value[item] if isinstance(item, int) and item < len(value) else None
        elif isinstance(value, Mapping):
            item = next((key for key in value if str(key) == item), item)
            value = value.get(item)
        else:
            name = find_field(type(value), item) if isinstance(value, BaseModel) else item
            value = getattr(value, name, None)
        path.append(item)
    return tuple(path)


def find_field(kind: type[BaseModel], item: str | int) -> str:
    """The name of the field that is given as `item`."""
    return list_aliases(kind).get(str(item), str(item))


def list_aliases(kind: type[BaseModel]) -> dict[str, str]:
    """The name of each field that is given under another."""
    fields = kind.model_fields.items()
    return {field.validation_alias: name for name, field in fields if isinstance(field.validation_alias, str)}
