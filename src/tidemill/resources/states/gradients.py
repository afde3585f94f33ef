"""`gradients`: whether torch records operations for gradients, for a block."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

from tidemill.errors import ConfigError, ResourceError
from tidemill.resources.states.state import StateScope

GradientMode = bool | Literal["inference"]
"""Whether gradients are recorded; `inference` is torch's inference mode, whose tensors no later backward may use."""


class _Held:
    """What a thread had when one block of it began, and what was entered for that.

    Attributes:
        is_left: whether the block has ended; it is put back once those within it have, too.
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        self._guard: AbstractContextManager[Any] | None = None
        self.is_left = False

    def change(self, mode: GradientMode) -> None:
        torch, (_, is_inference) = self._torch, self._before
        wants_inference = mode == "inference" or (is_inference and not mode)
        if wants_inference != is_inference:
            self._guard = torch.inference_mode(wants_inference)
            self._guard.__enter__()
        if torch.is_grad_enabled() != (mode is True):
            torch.set_grad_enabled(mode is True)

    def put_back(self) -> list[BaseException]:
        torch, (recording, is_inference) = self._torch, self._before
        if self._guard is not None:
            self._guard.__exit__(None, None, None)
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


class _Open(threading.local):
    """The blocks that a thread holds, the outermost first."""

    def __init__(self) -> None:
        self.held: list[_Held] = []


_open = _Open()


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
        self._held: _Held | None = None

    def copy(self) -> Self:
        return type(self)(self.mode)

    def _change(self) -> None:
        held = _Held(load_torch())
        try:
            held.change(self.mode)
        except BaseException:
            held.put_back()
            raise
        _open.held.append(held)
        self._held = held

    def _find_misplaced(self) -> ResourceError | None:
        if self._held in _open.held:
            return None
        return ResourceError(
            "gradient mode belongs to a thread, and the block was left in another one than it was entered in",
            hint="enter and leave it in one thread: `with tm.gradients(…):`",
        )

    def _put_back(self) -> list[BaseException]:
        """Put it back, unless blocks that began in this one, and were entered by hand, hold on: then with the last."""
        held, self._held = self._held, None
        failures: list[BaseException] = []
        if held is not None:
            held.is_left = True
        while _open.held and _open.held[-1].is_left:
            failures += _open.held.pop().put_back()
        return failures


def gradients(mode: GradientMode = False) -> Gradients:
    """A block in which torch records gradients or not, and after which it does as before: of the running thread.

    `gradients(True)` records within an outer `no_grad` or inference mode too; `gradients("inference")` is torch's
    inference mode, faster by a little, whose tensors no later backward may use: also those that a model keeps in its
    buffers.

    Raises: ConfigError: `mode` is none of these.
    Raises (on entering): ResourceError: torch is not installed, or the block awaits or yields.
    """
    return Gradients(mode)


def find_mode() -> GradientMode:
    """The mode of this thread."""
    torch = load_torch()
    return "inference" if torch.is_inference_mode_enabled() else bool(torch.is_grad_enabled())


def describe_mode(mode: GradientMode) -> str:
    """A mode as a person reads it: `on`, `off` or `inference`."""
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
