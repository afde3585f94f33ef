"""The caller's torch gradient mode, which belongs to a thread, taken along to another.

A process that has not loaded torch has no mode, and is asked nothing. One that is sent another mode than that of a
fresh process imports it: the function may do so when it is called, and would find gradients on.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

GradientMode = tuple[bool, bool]
"""Whether gradients are recorded, and whether inference mode is on."""

_FRESH: GradientMode = (True, False)


def find_gradient_mode() -> GradientMode | None:
    """The mode of this thread; None where torch is not loaded, or not to its end."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    try:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    except AttributeError:  # another thread is importing it
        return None


def call_in_mode(mode: GradientMode | None, call: Callable[[Any], Any], argument: Any) -> Any:
    """What `call(argument)` gives under `mode`, after which this thread has its own mode again."""
    if mode is None or mode == (find_gradient_mode() or _FRESH):
        return call(argument)
    with ExitStack() as entered:
        _enter(mode, entered)
        return call(argument)


class HeldMode:
    """The mode of a thread that several records share: held from one change to the next. Belongs to its thread."""

    def __init__(self) -> None:
        self._entered = ExitStack()
        self._mode: GradientMode | None = None

    def hold(self, mode: GradientMode | None) -> None:
        """Put the thread into `mode`; None leaves it as it is."""
        if mode is None or mode == self._mode:
            return
        self.close()
        _enter(mode, self._entered)
        self._mode = mode

    def close(self) -> None:
        """Put the thread back into its own mode."""
        self._entered.close()
        self._mode = None


def _enter(mode: GradientMode, entered: ExitStack) -> None:
    torch: Any = importlib.import_module("torch")
    entered.enter_context(torch.inference_mode(mode[1]))
    entered.enter_context(torch.set_grad_enabled(mode[0]))
