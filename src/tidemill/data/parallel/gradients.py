"""The caller's torch gradient mode, which belongs to a thread, taken along to another.

A process that has not loaded torch has no mode, and is asked nothing. One that is sent another mode than that of a
fresh process imports it: the function may do so when it is called, and would find gradients on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tidemill.resources.states.gradients import GradientMode, Gradients, find_mode

_FRESH: GradientMode = True


def find_gradient_mode() -> GradientMode | None:
    """The mode of this thread; None where torch is not loaded, or not to its end."""
    if sys.modules.get("torch") is None:
        return None
    try:
        return find_mode()
    except AttributeError:  # another thread is importing it
        return None


def call_in_mode(mode: GradientMode | None, call: Callable[[Any], Any], argument: Any) -> Any:
    """What `call(argument)` gives under `mode`, after which this thread has its own mode again."""
    if mode is None or mode == _find_own():
        return call(argument)
    with Gradients(mode):
        return call(argument)


def _find_own() -> GradientMode:
    found = find_gradient_mode()
    return _FRESH if found is None else found


class HeldMode:
    """The mode of a thread that several records share: held from one change to the next. Belongs to its thread."""

    def __init__(self) -> None:
        self._held: Gradients | None = None

    def hold(self, mode: GradientMode | None) -> None:
        """Put the thread into `mode`; None leaves it as it is."""
        if mode is None or (self._held is not None and self._held.mode == mode):
            return
        self.close()
        self._held = Gradients(mode)
        self._held.enter_at(None)

    def close(self) -> None:
        """Put the thread back into its own mode."""
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)
