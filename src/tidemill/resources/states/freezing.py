"""`frozen`: parameters that record no gradients for a block."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Self

from tidemill.errors import ConfigError
from tidemill.resources.states.state import StateScope
from tidemill.resources.states.switch import Held, Switch

_read_requires_grad = attrgetter("requires_grad")


def _read_flags(tensors: Iterable[Any]) -> Iterable[bool]:
    return map(_read_requires_grad, tensors)


def _write_flags(tensors: Sequence[Any], value: bool) -> None:
    for tensor in tensors:
        tensor.requires_grad = value


REQUIRES_GRAD = Switch(_read_flags, _write_flags)
"""The `requires_grad` of every parameter."""


class Frozen(StateScope):
    """Made by `frozen`."""

    what = "the freezing of parameters"

    def __init__(self, tensors: list[Any]) -> None:
        self._tensors = tensors
        self._held: Held | None = None

    def copy(self) -> Self:
        return type(self)(self._tensors)

    def _change(self) -> None:
        self._held = REQUIRES_GRAD.hold(self._tensors, False)

    def _put_back(self) -> list[BaseException]:
        held, self._held = self._held, None
        return [] if held is None else REQUIRES_GRAD.release(held)


def frozen(*parameters: Any) -> Frozen:
    """A block in which these parameters need no gradients; afterwards each needs one if it did before.

    Gradients flow through a frozen module to what is in front of it. What was computed before keeps its own graph.
    Nested blocks and threads: as `evaluating`.

    Args:
        parameters: modules, which stand for all of their parameters, parameters, and iterables of these.

    Raises: ConfigError: one is neither, or a tensor that was computed, whose `requires_grad` cannot be set.
    Raises (on entering): ResourceError: the block awaits or yields.
    """
    return Frozen(list({id(tensor): tensor for tensor in _iter_tensors(parameters)}.values()))


def _iter_tensors(given: Iterable[Any]) -> Iterable[Any]:
    torch = sys.modules.get("torch")
    for each in given:
        if torch is not None and isinstance(each, torch.nn.Module):
            yield from each.parameters()
        elif torch is not None and isinstance(each, torch.Tensor):
            if not each.is_leaf:
                raise ConfigError(
                    "expected parameters, got a tensor that was computed: its `requires_grad` cannot be set",
                    hint="freeze the parameters it was computed from, or compute with its `.detach()`",
                )
            yield each
        elif isinstance(each, Iterable) and not isinstance(each, (str, bytes, dict)):
            yield from _iter_tensors(each)
        else:
            raise ConfigError(
                f"expected a module, parameters or an iterable of them, got a {type(each).__name__}",
                hint="for example tm.frozen(model.encoder) or tm.frozen(model.parameters())",
            )
