"""What a step's function is called with besides its record: resources, by the names of its parameters.

Imports little: worker processes load it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.data.entering.opener import Opener

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_IN_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Injected:
    """A function that takes resources, before a worker has opened them; pickles by its parts."""

    fn: Callable[..., Any]
    openers: tuple[Opener, ...]


def inject(fn: Any, openers: Mapping[str, Opener]) -> Any:
    """`fn` with those of the resources that it has a parameter for; `fn` itself where it takes none."""
    if not openers:
        return fn
    taken = tuple(openers[name] for name in list_parameters(fn) if name in openers)
    return Injected(fn, taken) if taken else fn


def list_parameters(fn: Any) -> dict[str, inspect.Parameter]:
    """The parameters of `fn` behind the first, which is the record's, as far as they may be given by name."""
    return {name: each for name, each in _list_further(fn).items() if each.kind in _NAMED}


def list_required(fn: Any) -> list[str]:
    """The parameters without which `fn` cannot be called, the record's left out."""
    return [name for name, each in _list_further(fn).items() if each.default is each.empty]


def unwrap(fn: Any) -> Any:
    """The function that is called in the end, without what it is given besides its record."""
    while isinstance(fn, (functools.partial, Injected)):
        fn = fn.func if isinstance(fn, functools.partial) else fn.fn
    return fn


def _list_further(fn: Any) -> dict[str, inspect.Parameter]:
    try:
        found = list(inspect.signature(fn).parameters.values())
    except (ValueError, TypeError):  # one written in C that tells nothing of itself
        return {}
    behind = found[1:] if found and found[0].kind in _IN_PLACE else found
    return {each.name: each for each in behind if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
