"""Whatever ends a block, over whatever tree of modules: all it changed is as it was, bit for bit.

A thousand trees are `make scopes`, which `make check` runs.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import tidemill as tm
from module_trees import WatchedMode, compile_eagerly, module_trees
from restoring import DEPTHS, WAYS, Plan, check_matrix, plans
from tidemill.testing.device import FakeDevice


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> None:
    """Each block over a device collects garbage: that of this module only, without what compiling takes."""
    compile_eagerly(nn.Dropout())
    gc.collect()
    gc.freeze()


@given(root=module_trees(), plan=plans())
@settings(max_examples=10)
def test_everything_is_put_back(root: nn.Sequential, plan: Plan) -> None:
    assert check_matrix(root, plan) == len(WAYS) * len(DEPTHS) * 2


def test_a_mode_that_is_right_is_not_written_beside_one_that_is_not() -> None:
    watched = WatchedMode()
    watched.training = False
    writes = watched.writes
    with tm.evaluating(nn.Sequential(nn.Dropout(), watched)):
        pass
    assert watched.writes == writes


def test_what_a_profiler_began_last_ends_first() -> None:
    """The clock stops in front of everything, the models and gradients are put back, and then the cache is cleared."""
    model, device = nn.Dropout(), FakeDevice()
    seen = []

    def note() -> None:
        device.pass_host_time(5.0)
        seen.append((model.training, torch.is_grad_enabled()))

    device.on_clear = note
    with tm.InferenceProfiler(model, device=device, clock=device.clock) as prof:
        device.pass_host_time(1.0)
    assert prof.host_s == 1.0
    assert seen == [(True, True)]


class Interrupted(nn.Module):
    """Ctrl-C comes as its mode is read, once `is_due`."""

    is_due = False

    @property
    def training(self) -> bool:
        if self.is_due:
            self.is_due = False
            raise KeyboardInterrupt("Ctrl-C")
        return bool(self.__dict__["mode"])

    @training.setter
    def training(self, value: bool) -> None:
        self.__dict__["mode"] = value


def test_a_signal_as_a_block_ends_keeps_nothing_from_being_put_back() -> None:
    interrupted = Interrupted()
    model = nn.Sequential(nn.Dropout(), interrupted, nn.Dropout())
    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"), tm.evaluating(model):
        interrupted.is_due = True
    assert [module.training for module in model.modules()] == [True] * 4


def test_what_caught_the_error_of_a_block_and_goes_on_is_not_closed() -> None:
    """What the frames of a traceback hold is dropped as the cache is cleared; a suspended generator is not."""

    def parse_all() -> Iterator[ValueError | int]:
        for number in range(2):
            try:
                int("?")
            except ValueError as error:
                yield error
            yield number

    parsing = parse_all()
    error = next(parsing)
    assert isinstance(error, ValueError)
    with pytest.raises(ValueError, match="invalid literal"), tm.InferenceProfiler(device=FakeDevice()):
        raise error
    assert next(parsing) == 0
