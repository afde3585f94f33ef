"""`gradients`: whether torch records operations for gradients, for a block."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

from tidemill.errors import ConfigError, ResourceError
from tidemill.resources.states.state import StateScope

GradientMode = bool | Literal["inference"]
"""Whether gradients are recorded; `inference` is torch's inference mode, whose tensors no later backward may use."""


class Gradients(StateScope):
    """Made by `gradients`.

    Attributes:
        mode: what is recorded within.
    """

    what = "gradient mode"

    def __init__(self, mode: GradientMode) -> None:
        if not (isinstance(mode, bool) or mode == "inference"):
            raise ConfigError(f'expected True, False or "inference", got {mode!r}')
        self.mode = mode
        self._thread = 0
        self._before = (True, False)
        self._guard: AbstractContextManager[Any] | None = None

    def copy(self) -> Self:
        return type(self)(self.mode)

    def _change(self) -> None:
        torch = load_torch()
        self._thread = threading.get_ident()
        self._before = _, is_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        wants_inference = self.mode == "inference" or (is_inference and not self.mode)
        if wants_inference != is_inference:
            self._guard = torch.inference_mode(wants_inference)
            self._guard.__enter__()
        if torch.is_grad_enabled() != (self.mode is True):
            torch.set_grad_enabled(self.mode is True)

    def _find_misplaced(self) -> ResourceError | None:
        if self._thread == threading.get_ident():
            return None
        return ResourceError(
            "gradient mode belongs to a thread, and the block was left in another one than it was entered in",
            hint="enter and leave it in one thread: `with tm.gradients(…):`",
        )

    def _put_back(self) -> list[BaseException]:
        torch = load_torch()
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.__exit__(None, None, None)
        recording, is_inference = self._before
        if torch.is_grad_enabled() != recording:
            torch.set_grad_enabled(recording)
        if torch.is_inference_mode_enabled() == is_inference:
            return []
        return [
            ResourceError(
                "the block entered or left torch's inference mode and did not put that back",
                hint="hold torch.inference_mode, or tm.gradients, with `with`",
            )
        ]


def gradients(mode: GradientMode = False) -> Gradients:
    """A block in which torch records gradients or not, and after which it does as before: of the running thread.

    `gradients(True)` records within an outer `no_grad` or inference mode too; `gradients("inference")` is torch's
    inference mode, faster by a little, whose tensors no later backward may use: also those that a model keeps in its
    buffers.

    Raises: ConfigError: `mode` is none of these.
    Raises (on entering): ResourceError: torch is not installed, or the block awaits or yields.
    """
    return Gradients(mode)


def describe_mode(mode: GradientMode | None = None) -> str:
    """A mode as a person reads it: `on`, `off` or `inference`; by default that of this thread."""
    if mode is None:
        torch = load_torch()
        mode = "inference" if torch.is_inference_mode_enabled() else torch.is_grad_enabled()
    return mode if isinstance(mode, str) else "on" if mode else "off"


def load_torch() -> Any:
    """The package torch.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ResourceError("torch is not installed", hint='pip install "tidemill[torch]"') from error
    return torch
