"""Random trees of torch modules, with the kinds that make it hard to put a mode back, for hypothesis."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

MAX_DEPTH = 3
MAX_CHILDREN = 3


class FrozenNorm(nn.BatchNorm1d):
    """As detection models have it: it stays in evaluation mode, whatever `train()` says."""

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(False)
        return self


class DerivedMode(nn.Module):
    """Its `training` is a property."""

    @property
    def training(self) -> bool:
        return bool(self.__dict__.get("mode", True))

    @training.setter
    def training(self, value: bool) -> None:
        self.__dict__["mode"] = value


class YieldingMode(DerivedMode):
    """Lets another thread run whenever its mode is read or written."""

    @property
    def training(self) -> bool:
        time.sleep(0)  # gives up the interpreter's lock, and does not wait
        return bool(self.__dict__.get("mode", True))

    @training.setter
    def training(self, value: bool) -> None:
        time.sleep(0)
        self.__dict__["mode"] = value


class WatchedMode(nn.Module):
    """Counts how often its mode is written.

    Attributes:
        writes: how often that was.
    """

    writes = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training":
            self.__dict__["writes"] = self.writes + 1
        super().__setattr__(name, value)


class Twin(nn.Module):
    """Equal to all of its kind, and yet another module."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Twin)

    def __hash__(self) -> int:
        return hash(Twin)


class OptionalParts(nn.Module):
    """Places for children in which there are none."""

    def __init__(self, *children: nn.Module) -> None:
        super().__init__()
        self.register_module("gate", None)
        for number, child in enumerate(children):
            self.add_module(f"part{number}", child)
        self.register_parameter("bias", None)


class Strict(nn.Module):
    """Refuses to be given the mode `refused`, once that is set.

    Attributes:
        raised: the error with which it refused last.
    """

    def __init__(self) -> None:
        self.refused: bool | None = None
        self.raised: BaseException | None = None
        super().__init__()
        self.gate = nn.Parameter(torch.ones(1), requires_grad=False)

    @property
    def training(self) -> bool:
        return bool(self.__dict__.get("mode", True))

    @training.setter
    def training(self, value: bool) -> None:
        if value is self.__dict__.get("refused"):
            self.__dict__["raised"] = error = RuntimeError(f"this one refuses training={value}")
            raise error
        self.__dict__["mode"] = value


LEAVES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(1, 1),
    "dropout": nn.Dropout,
    "norm": lambda: nn.BatchNorm1d(1),
    "frozen norm": lambda: FrozenNorm(1),
    "property": DerivedMode,
    "own __setattr__": WatchedMode,
    "equal": Twin,
    "empty": nn.ModuleList,
}

PARENTS: dict[str, Callable[[list[nn.Module]], nn.Module]] = {
    "sequential": lambda children: nn.Sequential(*children),
    "list": nn.ModuleList,
    "dict": lambda children: nn.ModuleDict({f"key{number}": child for number, child in enumerate(children)}),
    "own": lambda children: OptionalParts(*children),
}


def list_all(root: nn.Module) -> list[nn.Module]:
    """Every module of a tree once; torch's own `modules()` takes equal ones for one."""
    found: dict[int, nn.Module] = {}

    def add(module: nn.Module | None) -> None:
        if module is not None and id(module) not in found:
            found[id(module)] = module
            for child in module._modules.values():
                add(child)

    add(root)
    return list(found.values())


def compile_eagerly(module: nn.Module) -> nn.Module:
    """The module as torch compiles it; without calls nothing is traced."""
    compiled: Any = torch.compile(module, backend="eager")
    assert isinstance(compiled, nn.Module)
    return compiled


@st.composite
def module_trees(draw: st.DrawFn) -> nn.Sequential:
    """A tree whose root holds a random one and a `Strict`; each module in a random mode, parameters frozen or not."""
    made: list[nn.Module] = []
    flags = st.booleans()

    def make(depth: int) -> nn.Module:
        kinds = [*LEAVES, *(PARENTS if depth < MAX_DEPTH else ()), *(["shared"] if made else ())]
        kind = draw(st.sampled_from(kinds))
        if kind == "shared":
            return draw(st.sampled_from(made))
        if kind in LEAVES:
            module = LEAVES[kind]()
        else:
            module = PARENTS[kind]([make(depth + 1) for _ in range(draw(st.integers(0, MAX_CHILDREN)))])
        module.training = draw(flags)
        for parameter in module._parameters.values():
            if parameter is not None:
                parameter.requires_grad = draw(flags)
        made.append(compile_eagerly(module) if draw(st.integers(0, 19)) == 19 else module)
        return made[-1]

    root = nn.Sequential(make(0), Strict())
    root.training = draw(flags)
    return root
