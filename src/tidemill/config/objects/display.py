"""What `repr` shows of a configuration: its values, secrets masked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr

from tidemill.config.members import list_keys
from tidemill.config.secrets import MASK, is_secret_key, mask

Arguments = Iterable[tuple[str | None, Any]]


class _Shown(str):
    """A text that stands for a value as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def iter_shown(model: BaseModel, arguments: Arguments) -> Iterator[tuple[str | None, Any]]:
    """The `arguments` that the `repr` of a model names, each with a value that shows no secret.

    What stands under a secret name is masked, at every depth, and so is what has a secret's form; as in a report, a
    bool or null is none. A value without a secret is given as it is.
    """
    keys = list_keys(type(model))
    for name, value in arguments:
        is_secret = name is not None and (is_secret_key(name) or is_secret_key(keys.get(name, name)))
        yield name, _show(value, hidden=is_secret)


def _show(value: Any, *, hidden: bool) -> Any:
    if value is None or isinstance(value, (bool, SecretStr, SecretBytes)) or (isinstance(value, _Shown) and not hidden):
        return value
    if isinstance(value, str) and not hidden:
        shown = mask(value)
        return value if shown == value else shown
    if isinstance(value, Mapping):
        items = {key: _show(item, hidden=hidden or is_secret_key(str(key))) for key, item in value.items()}
        return value if all(items[key] is item for key, item in value.items()) else items
    if isinstance(value, (list, tuple, set, frozenset)):
        listed = [_show(item, hidden=hidden) for item in value]
        is_same = all(new is old for new, old in zip(listed, value, strict=True))
        return value if is_same else tuple(listed) if isinstance(value, tuple) else listed
    if hidden:
        return MASK
    if isinstance(value, BaseModel):
        return _show_fields(value, iter_shown(value, value.__repr_args__()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value) if each.repr)
        return _show_fields(value, ((name, _show(held, hidden=is_secret_key(name))) for name, held in fields))
    return value


def _show_fields(value: Any, shown: Arguments) -> Any:
    """`value` with its fields as they are `shown`."""
    arguments = list(shown)
    if all(held is getattr(value, name or "", None) for name, held in arguments):
        return value
    words = [repr(held) if name is None else f"{name}={held!r}" for name, held in arguments]
    return _Shown(f"{type(value).__name__}({', '.join(words)})")
