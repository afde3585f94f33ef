"""`evaluating`: models in evaluation mode for a block."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Self

from tidemill.resources.states.modules import check_models, list_modules
from tidemill.resources.states.state import StateScope
from tidemill.resources.states.switch import Held, Switch

_read_training = attrgetter("training")
_read_dict = attrgetter("__dict__")


def _read_flags(modules: Iterable[Any]) -> Iterable[bool]:
    return map(_read_training, modules)


def _write_flags(modules: Sequence[Any], value: bool) -> None:
    slots = _find_slots(modules)
    if slots is not None:
        for slot in slots:
            slot["training"] = value
        return
    for module in modules:
        module.training = value


def _rewrite_flags(modules: Sequence[Any], flags: Sequence[bool]) -> bool:
    slots = _find_slots(modules)
    if slots is None:
        return False
    for slot, flag in zip(slots, flags, strict=True):
        slot["training"] = flag
    return True


def _find_slots(modules: Sequence[Any]) -> Iterable[dict[str, Any]] | None:
    """Where torch's own `__setattr__` writes the flags, in a fraction of its time; None where a class has a say."""
    plain = sys.modules["torch"].nn.Module.__setattr__
    kinds = set(map(type, modules))
    if all(kind.__setattr__ is plain and not hasattr(kind, "training") for kind in kinds):
        return map(_read_dict, modules)
    return None


TRAINING = Switch(_read_flags, _write_flags, _rewrite_flags)
"""The `training` flag of every torch module."""


class Evaluating(StateScope):
    """Made by `evaluating`.

    Attributes:
        modules: the torch modules that it holds, while it is open.
        changed: how many of them were not in evaluation mode.
    """

    what = "evaluation mode"

    def __init__(self, models: tuple[Any, ...]) -> None:
        self._models = models
        self._held: Held | None = None
        self.modules: list[Any] = []
        self.changed = 0

    def copy(self) -> Self:
        return type(self)(self._models)

    def _change(self) -> None:
        self.modules = list_modules(self._models)
        self._held = TRAINING.hold(self.modules, False)
        self.changed = self._held.changed

    def _put_back(self) -> list[BaseException]:
        held, self._held = self._held, None
        self.modules = []
        return [] if held is None else TRAINING.release(held)


def evaluating(*models: Any) -> Evaluating:
    """A block in which the torch modules of `models` are in evaluation mode; afterwards each is as it was.

    The `training` flag of every module is put back by object, as an attribute: `train()` is never called, so a frozen
    BatchNorm whose class overrides it stays frozen, and a flag that is right already is not written, which a compiled
    model would notice. A module shared by several parents is one; one that the block removes is put back, one that it
    adds is left alone.

    Nested blocks each put back what they saw. Threads: any may hold a block over the same model; the first in sees
    the state that the last out puts back.

    Args:
        models: modules, compiled ones too, and callables that have some: bound methods, partials, objects,
            functions that name them.

    Raises: ConfigError: one is no model, since it cannot be called.
    Raises (on entering): ResourceError: the block awaits or yields.
    """
    check_models(models)
    return Evaluating(models)
