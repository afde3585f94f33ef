"""The torch modules in what a user calls a model, each once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from operator import attrgetter
from types import FunctionType, MethodType
from typing import Any

from tidemill.errors import ConfigError

_read_children = attrgetter("_modules")
_CALLABLES = (FunctionType, MethodType, partial)


def list_modules(models: Iterable[Any]) -> list[Any]:
    """Every torch module in `models` and below them, each once; none where torch is not loaded.

    A model is a module, or a callable that has some: a bound method's object, what a `partial` holds, an object's
    attributes, what a function takes from the variables around it or of its file. A compiled model's own module is one
    of its children.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    roots = list(_iter_roots(models, torch.nn.Module))
    try:
        return _walk(roots)
    except TypeError:  # a module that has no hash, or whose children stand in no dictionary, as a scripted one's
        return _walk_singly(roots)


def check_models(models: Iterable[Any]) -> None:
    """Check that each is a model.

    Raises:
        ConfigError: one cannot be called, or is a class of modules.
    """
    for model in models:
        if _is_module_class(model):
            raise ConfigError(f"expected models, got the class {model.__name__}", hint="make one of it")
        if not callable(model):
            raise ConfigError(
                f"expected models, which can be called, got a {type(model).__name__}",
                hint="give several one by one, and of an object the method that computes: `model.predict`",
            )


def _is_module_class(model: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, type) and issubclass(model, torch.nn.Module)


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


def _iter_roots(models: Iterable[Any], kind: type) -> Iterator[Any]:
    """The modules that stand in what is called, as far as it holds them itself, or by way of other callables."""
    waiting, seen = list(models)[::-1], set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, kind):
            yield each
        elif id(each) not in seen:
            seen.add(id(each))
            waiting += reversed([held for held in _iter_held(each) if isinstance(held, (kind, *_CALLABLES))])


def _iter_held(model: Any) -> Iterator[Any]:
    """What a callable holds."""
    if isinstance(model, MethodType):
        yield from (model.__self__, *getattr(model.__self__, "__dict__", {}).values())
    elif isinstance(model, partial):
        yield from (model.func, *model.args, *model.keywords.values())
    elif isinstance(model, FunctionType):
        for cell in model.__closure__ or ():
            with suppress(ValueError):  # a variable that has no value yet
                yield cell.cell_contents
        named = [model.__globals__.get(name) for name in model.__code__.co_names]
        # Functions of other files are not gone through: they lead into whole libraries.
        yield from (each for each in named if getattr(each, "__globals__", model.__globals__) is model.__globals__)
    elif not isinstance(model, type):
        yield from getattr(model, "__dict__", {}).values()
