"""Where a value of a configuration at hand came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from tidemill.config.layers.origins import PYTHON, Origin, find_origins
from tidemill.config.members import find_field, find_path, iter_members, list_aliases
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.wording.suggest import suggest
from tidemill.errors import ConfigError


def find_origin(config: BaseModel, label: str) -> Origin:
    """The origin of what stands at a dotted path of `config`.

    Raises:
        ConfigError: there is no such key.
    """
    path = find_path(config, label)
    kept = find_origins(config)
    if kept is not None:
        spelled = (kept.find(each) for each in _iter_spellings(config, path))  # a tag that no field holds, too
        if origin := next((each for each in spelled if each.places), None):
            return origin
    _check_path(config, path)
    if kept is not None:
        return Origin()
    return Origin((PYTHON,)) if _is_given(config, path) else Origin()


def _is_given(value: Any, path: KeyPath) -> bool:
    """Whether every model on the way was made with the field that the path goes through."""
    for item in path:
        if isinstance(value, BaseModel):
            name = find_field(type(value), item)
            if name not in value.model_fields_set:
                return False
            value = getattr(value, name)
        else:
            value = dict(iter_members(value)).get(item)
    return True


def _iter_spellings(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """The path as it is, and with the other keys that its fields may be given under."""
    if not path:
        yield ()
        return
    item, *rest = path
    aliases = list_aliases(type(value)) if isinstance(value, BaseModel) else {}
    name = aliases.get(str(item), item)
    members = dict(iter_members(value))
    keys = dict.fromkeys((item, name, *(each for each, field in aliases.items() if field == name)))
    held = next((members[each] for each in keys if each in members), None)
    yield from ((key, *below) for key in keys for below in _iter_spellings(held, tuple(rest)))


def _check_path(value: Any, path: KeyPath) -> None:
    for depth, item in enumerate(path):
        members = {str(key): held for key, held in iter_members(value)}
        name = find_field(type(value), item) if isinstance(value, BaseModel) else str(item)
        if str(item) not in members and not hasattr(value, name):
            known = [join_path((*path[:depth], key)) for key in members]
            wrong = join_path(path[: depth + 1])
            raise ConfigError(f"there is no key `{join_path(path)}`", hint=suggest(wrong, known))
        value = members[str(item)] if str(item) in members else getattr(value, name)
