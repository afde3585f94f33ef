"""The torch modules in what a user calls a model, each once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from operator import attrgetter
from types import MethodType
from typing import Any

from tidemill.errors import ConfigError

_read_children = attrgetter("_modules")


def list_modules(models: Iterable[Any]) -> list[Any]:
    """Every torch module in `models` and below them, each once; none where torch is not loaded.

    A model is a module, or a callable that has some: a bound method's object, what a `partial` holds, an object's
    attributes. A compiled model's own module is one of its children.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    roots = [root for model in models for root in _iter_roots(model, torch.nn.Module)]
    try:
        return _walk(roots)
    except TypeError:  # a module that has no hash, or whose children stand in no dictionary, as a scripted one's
        return _walk_singly(roots)


def check_models(models: Iterable[Any]) -> None:
    """Check that each is a model.

    Raises:
        ConfigError: one cannot be called.
    """
    for model in models:
        if not callable(model):
            raise ConfigError(
                f"expected models, which can be called, got a {type(model).__name__}",
                hint="give several one by one, and of an object the method that computes: `model.predict`",
            )


def _walk(roots: list[Any]) -> list[Any]:
    """The modules level by level, in C's loops: a method call for each would take five times as long."""
    found = level = _keep_first(roots)
    seen = set(found)
    while level:
        level = list(chain.from_iterable(map(dict.values, filter(None, map(_read_children, level)))))
        known = len(seen)
        seen.update(level)
        if len(seen) - known != len(level) or None in seen:  # shared modules, ones that are equal, places of none
            before = set(map(id, found))
            level = _keep_first(each for each in level if each is not None and id(each) not in before)
            seen.discard(None)
        found = found + level
    return found


def _walk_singly(roots: list[Any]) -> list[Any]:
    found: dict[int, Any] = {}
    waiting = roots[::-1]
    while waiting:
        module = waiting.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = module
            waiting.extend(module._modules.values())
    return list(found.values())


def _keep_first(modules: Iterable[Any]) -> list[Any]:
    return list({id(module): module for module in modules}.values())


def _iter_roots(model: Any, kind: type) -> Iterator[Any]:
    if isinstance(model, kind):
        yield model
    elif isinstance(model, MethodType):
        yield from _iter_roots(model.__self__, kind)
    elif isinstance(model, partial):
        for part in (model.func, *model.args, *model.keywords.values()):
            yield from _iter_roots(part, kind)
    elif not isinstance(model, type):
        held: Mapping[str, Any] = getattr(model, "__dict__", {})
        yield from (value for value in held.values() if isinstance(value, kind))
