"""What keeps a block from being entered or from being put back, in trees of `module_trees`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NoReturn

import torch
from torch import nn

from module_trees import Strict
from tidemill.testing.device import FakeDevice, FakeEvent


class BrokenDevice(FakeDevice):
    """A device that has fallen off its bus."""

    def record(self) -> FakeEvent:
        raise OSError("the device is gone")


class Breakage:
    """One thing in a tree that fails when a scope changes it, or puts it back.

    Attributes:
        expected: the text of the error that comes of it; empty where nothing is broken.
    """

    def __init__(self, root: nn.Sequential, mends: ExitStack) -> None:
        assert isinstance(root[1], Strict)
        self._strict = root[1]
        self._mends = mends
        self._before = self._strict.training
        self.expected = ""

    @property
    def raised(self) -> BaseException | None:
        """The very error, where it is known."""
        return self._strict.raised

    def break_entering(self, place: str, covered: set[str]) -> FakeDevice | None:
        """Break the tree at `place`, if the scopes come by there; a device for them to fail at, where that is it."""
        if place == "module" and "flags" in covered and self._before:
            self._refuse(False)
        elif place == "parameter" and "needs" in covered:
            self._compute_gate()
        elif place == "device" and "times" in covered:
            self.expected = "the device is gone"
            return BrokenDevice()
        return None

    def break_leaving(self, covered: set[str]) -> None:
        """Have something in the tree fail to be put back, if the scopes come by there."""
        if "flags" in covered and self._before:
            self._refuse(True)
        elif "needs" in covered:
            self._compute_gate()

    def fail(self) -> NoReturn:
        """Fail as the innermost manager."""
        self.expected = "does not open"
        self._mends.callback(self._accept)
        self._strict.raised = OSError(self.expected)
        raise self._strict.raised

    def _refuse(self, mode: bool) -> None:
        self.expected = f"this one refuses training={mode}"
        self._strict.training = not mode
        self._strict.refused = mode
        self._mends.callback(self._accept)

    def _accept(self) -> None:
        self._strict.refused = self._strict.raised = None
        self._strict.training = self._before

    def _compute_gate(self) -> None:
        """Have a parameter be what was computed: torch refuses to set that it needs no gradients."""
        self.expected = "you can only change requires_grad flags of leaf variables"
        gate = self._strict.gate
        gate.requires_grad = False
        with torch.inference_mode(False), torch.enable_grad():
            gate.mul_(torch.ones(1, requires_grad=True))
        self._mends.callback(self._detach_gate)

    def _detach_gate(self) -> None:
        with torch.inference_mode(False):
            self._strict.gate.detach_()
