"""Many threads over one model: within a block it is in evaluation mode, and at the end it is as it was."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import torch
from torch import nn

import tidemill as tm
from module_trees import DerivedMode, FrozenNorm, YieldingMode

SWITCH_S = 1e-6
"""How long a thread runs before another one may: as short as it gets."""


def check_crowd(threads: int, times: int) -> int:
    """Have each thread enter and leave blocks over one model so many times; how many that were.

    Raises:
        AssertionError: the model was in training mode within a block, or is not as it was.
    """
    model = make_model()
    before = read_flags(model)
    start = Barrier(threads)

    def run(seed: int) -> int:
        chance = random.Random(seed)
        start.wait()
        done = 0
        while done < times:
            done += ROUNDS[chance.randrange(len(ROUNDS))](model)
        assert torch.is_grad_enabled()
        return done

    with switching_often(), ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(run, range(threads)))
    assert read_flags(model) == before, f"flags were {before}, are {read_flags(model)}"
    return done


def make_model() -> nn.Sequential:
    """Modules of each kind in both modes, one of them in two places."""
    shared = nn.Dropout()
    model = nn.Sequential(nn.Linear(1, 1), shared, nn.Sequential(shared, DerivedMode()), YieldingMode(), FrozenNorm(1))
    for number, module in enumerate(model.modules()):
        module.training = number % 4 != 3
    model[0].bias.requires_grad = False
    return model


def read_flags(model: nn.Module) -> tuple[list[bool], list[bool]]:
    """Modes of the modules, and which parameters need gradients."""
    return [each.training for each in model.modules()], [each.requires_grad for each in model.parameters()]


def check_within(model: nn.Module, *, is_frozen: bool = False) -> None:
    """Check what holds in a block."""
    modes, needs = read_flags(model)
    assert not any(modes), f"within a block, modules are in training mode: {modes}"
    assert not is_frozen or not any(needs), f"within a block, parameters need gradients: {needs}"


def hold_one(model: nn.Module) -> int:
    with tm.evaluating(model):
        check_within(model)
    return 1


def hold_profiler(model: nn.Module) -> int:
    with tm.InferenceProfiler(model):
        check_within(model)
        assert not torch.is_grad_enabled()
    return 1


def hold_nested(model: nn.Module) -> int:
    with tm.evaluating(model), tm.frozen(model):
        check_within(model, is_frozen=True)
        with tm.InferenceProfiler(model):
            check_within(model, is_frozen=True)
        check_within(model, is_frozen=True)
    return 3


def hold_in_turn(model: nn.Module) -> int:
    """The first to be entered is the first to be left."""
    scopes: Sequence[Any] = [tm.evaluating(model), tm.evaluating(model), tm.evaluating(model)]
    for scope in scopes:
        scope.__enter__()
    for scope in scopes:
        check_within(model)
        scope.__exit__(None, None, None)
    return len(scopes)


def hold_a_part(model: nn.Module) -> int:
    """A block over a part of the model, left within one over all of it."""
    part, whole = tm.evaluating(*list(model.children())[1:3]), tm.evaluating(model)
    part.__enter__()
    whole.__enter__()
    part.__exit__(None, None, None)
    check_within(model)
    whole.__exit__(None, None, None)
    return 2


def leave_by_error(model: nn.Module) -> int:
    try:
        with tm.evaluating(model):
            check_within(model)
            raise KeyError
    except KeyError:
        return 1


ROUNDS: Sequence[Callable[[nn.Module], int]] = (
    hold_one,
    hold_profiler,
    hold_nested,
    hold_in_turn,
    hold_a_part,
    leave_by_error,
)


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
