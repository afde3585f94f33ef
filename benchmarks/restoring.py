"""Blocks over a tree of modules, ended in each way there is: what they change is put back, bit for bit.

`check_matrix` takes one tree through every way out, at each depth, in this thread and in another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

import tidemill as tm
from breakages import Breakage
from module_trees import list_all
from tidemill.testing.device import FakeDevice


def run_out_of_memory() -> BaseException:
    """What torch raises where the host has no memory left."""
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("the host has memory for everything")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: ValueError("the block's own"),
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(3),
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "out of memory": run_out_of_memory,
    "error, and error while restoring": lambda: ValueError("the block's own"),
}

WAYS = ("return", *ERRORS, "error while restoring", "failure half-way in")
DEPTHS = (1, 2, 3)

COVERS = {
    "evaluating": {"flags"},
    "gradients": {"modes"},
    "recording": {"modes"},
    "inference": {"modes"},
    "frozen": {"needs"},
    "seeded": {"numbers"},
    "profiler": {"flags", "modes", "times"},
    "inferring profiler": {"flags", "modes", "times"},
}
"""Each kind of scope, and what it sets and puts back."""

MODES: dict[str, tuple[Callable[[], AbstractContextManager[object]], tuple[bool, bool]]] = {
    "recording": (torch.enable_grad, (True, False)),
    "no_grad": (torch.no_grad, (False, False)),
    "inference": (torch.inference_mode, (False, True)),
}
"""What may stand around the blocks, and what it makes of gradient mode and inference mode."""

STYLES: dict[str, Callable[[Any, Callable[[], None]], None]] = {}
"""How a scope is held around a call."""


@dataclass(frozen=True)
class Plan:
    """What is done with a tree.

    Attributes:
        kinds: of the scopes, the outermost first.
        style: how they are held.
        outside: the gradient mode around them.
        moves: what the block does to what the scopes cover, and to the tree.
        seed: of `seeded`.
        has_device: whether a profiler has a device, whose cache it clears.
        failing: where entering fails half-way in.
    """

    kinds: tuple[str, ...]
    style: str
    outside: str
    moves: frozenset[str]
    seed: int
    has_device: bool
    failing: str


def plans() -> st.SearchStrategy[Plan]:
    """Any of them."""
    return st.builds(
        Plan,
        kinds=st.tuples(*[st.sampled_from(sorted(COVERS))] * max(DEPTHS)),
        style=st.sampled_from(sorted(STYLES)),
        outside=st.sampled_from(sorted(MODES)),
        moves=st.frozensets(st.sampled_from(["flags", "modes", "needs", "numbers", "remove", "add"])),
        seed=st.integers(0, 2**40),
        has_device=st.integers(0, 9).map(lambda number: number == 9),
        failing=st.sampled_from(["module", "parameter", "device", "manager"]),
    )


def check_matrix(root: nn.Sequential, plan: Plan) -> int:
    """Take `root` through each way out, at each depth, here and in a thread; how many blocks that were.

    Raises:
        AssertionError: something is not as it was, or another error came out than the block's own.
    """
    cells = list(product(WAYS, DEPTHS, (False, True)))
    with ThreadPoolExecutor(1) as other:
        for way, depth, in_thread in cells:
            trial = Trial(root, plan, way, plan.kinds[:depth])
            try:
                other.submit(trial.run).result() if in_thread else trial.run()
            except BaseException as error:
                error.add_note(f"way out: {way}, depth {depth}, {'another thread' if in_thread else 'this thread'}")
                raise
    return len(cells)


class Trial:
    """One block, or nested ones, and a way out."""

    def __init__(self, root: nn.Sequential, plan: Plan, way: str, kinds: tuple[str, ...]) -> None:
        self._root = root
        self._plan = plan
        self._way = way
        self._kinds = kinds
        self._covered = cover(kinds)
        self._modules = list_all(root)
        self._parameters = list(root.parameters())
        self._device = FakeDevice() if plan.has_device and "times" in self._covered else None
        self._mends = ExitStack()
        self._breakage = Breakage(root, self._mends)
        self._error: BaseException | None = None
        self._has_run = False

    def run(self) -> None:
        """Hold the scopes, end the block, and compare."""
        with MODES[self._plan.outside][0](), self._mends:
            before = self._read()
            if self._way == "failure half-way in":
                self._device = self._breakage.break_entering(self._plan.failing, self._covered) or self._device
            self._check_raised(self._hold_all())
            self._mends.close()
            before.check(self._read(), {"flags", "needs", "modes", "numbers"})
        if self._device is not None:
            assert self._device.clears == 1 or not self._has_run, f"the cache was cleared {self._device.clears} times"

    def _read(self) -> State:
        return State(self._modules, self._parameters)

    def _hold_all(self) -> BaseException | None:
        """What comes out of the outermost block."""
        try:
            self._hold(self._kinds)
        except BaseException as error:  # noqa: BLE001 - what comes out is looked at
            return error
        return None

    def _hold(self, kinds: tuple[str, ...]) -> None:
        if not kinds:
            self._run_block()
            return
        before = self._read()
        try:
            STYLES[self._plan.style](self._make(kinds), lambda: self._hold(kinds[1:]))
        finally:
            if not self._breakage.expected:
                before.check(self._read(), cover(kinds))

    def _make(self, kinds: tuple[str, ...]) -> Any:
        make: dict[str, Callable[[], Any]] = {
            "evaluating": lambda: tm.evaluating(self._root),
            "gradients": lambda: tm.gradients(False),
            "recording": lambda: tm.gradients(True),
            "inference": lambda: tm.gradients("inference"),
            "frozen": lambda: tm.frozen(self._root),
            "seeded": lambda: tm.seeded(self._plan.seed + len(kinds)),
            "profiler": lambda: tm.InferenceProfiler(self._root, device=self._device),
            "inferring profiler": lambda: tm.InferenceProfiler(self._root, gradients="inference", device=self._device),
        }
        return make[kinds[0]]()

    def _run_block(self) -> None:
        if self._way == "failure half-way in":
            assert not self._breakage.expected, f"entered although {self._breakage.expected}"
            self._breakage.fail()
        self._has_run = True
        self._check_within()
        self._move()
        if self._way.endswith("error while restoring"):
            self._breakage.break_leaving(self._covered)
        if self._way in ERRORS:
            self._error = ERRORS[self._way]()
            raise self._error

    def _check_within(self) -> None:
        state = self._read()
        assert "flags" not in self._covered or not any(state["flags"]), "a module is in training mode within"
        assert "needs" not in self._covered or not any(state["needs"]), "a parameter needs gradients within"
        modes = MODES[self._plan.outside][1]
        for kind in self._kinds:
            if "infer" in kind:
                modes = (False, True)
            elif "modes" in COVERS[kind]:
                modes = (True, False) if kind == "recording" else (False, modes[1])
        assert state["modes"] == modes, f"expected the modes {modes} within, got {state['modes']}"
        seeds = [self._plan.seed + len(self._kinds[place:]) for place in range(len(self._kinds))]
        last = [seed for seed, kind in zip(seeds, self._kinds, strict=True) if kind == "seeded"][-1:]
        assert all(random.random() == random.Random(seed).random() for seed in last), "not seeded within"

    def _move(self) -> None:
        """Change what the scopes put back, and the tree, which is mended once the block has ended."""
        moves = self._plan.moves & self._covered
        if "flags" in moves:
            for number, module in enumerate(self._modules):
                module.training = number % 3 != 0
        if "needs" in moves:
            for parameter in self._parameters:
                parameter.requires_grad = True
        if "modes" in moves:
            torch.set_grad_enabled(not torch.is_grad_enabled())
        if "numbers" in moves:
            random.gauss(0, 1)
            np.random.normal(size=3)
            torch.randn(3)
        children = dict(self._root._modules)
        if "remove" in self._plan.moves:
            self._root._modules.pop("0")
        if "add" in self._plan.moves:
            self._root.add_module("added", nn.Dropout())
        self._mends.callback(self._root._modules.update, children)
        self._mends.callback(self._root._modules.clear)
        self._mends.callback(check_left_alone, self._root)

    def _check_raised(self, raised: BaseException | None) -> None:
        expected = self._breakage.expected
        if self._error is not None:
            assert raised is self._error, f"{raised!r} came out in place of the block's own {self._error!r}"
            notes = "\n".join(getattr(raised, "__notes__", ()))
            assert expected in notes, f"`{expected}` is told nowhere: {notes}"
        elif expected:
            assert expected in str(raised), f"expected `{expected}`, got {raised!r}"
            assert self._breakage.raised in (None, raised), f"{raised!r} is not the error that was raised"
        elif raised is not None:
            raise raised


class State:
    """What scopes change: of modules, parameters, the running thread, and the process."""

    def __init__(self, modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
        self._parts: dict[str, Any] = {
            "flags": [module.training for module in modules],
            "needs": [parameter.requires_grad for parameter in parameters],
            "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
            "numbers": (random.getstate(), read_numpy(), torch.get_rng_state().numpy().tobytes()),
        }

    def __getitem__(self, part: str) -> Any:
        return self._parts[part]

    def check(self, now: State, parts: set[str]) -> None:
        """Check that it is `now` as it is here, of these parts."""
        for part in sorted(parts & self._parts.keys()):
            before, after = self[part], now[part]
            assert before == after, f"{part} were {before}, are {after}" if part != "numbers" else "numbers differ"


def read_numpy() -> tuple[Any, ...]:
    """The state of numpy's generator, so that it compares."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return (name, np.asarray(keys).tobytes(), *rest)


def cover(kinds: Sequence[str]) -> set[str]:
    """What scopes of these kinds put back."""
    return set[str]().union(*(COVERS[kind] for kind in kinds))


def check_left_alone(root: nn.Sequential) -> None:
    """Check a module that a block added."""
    added = root._modules.get("added")
    assert added is None or added.training, "a module that the block added was changed"


def hold_with(scope: Any, run: Callable[[], None]) -> None:
    with scope:
        run()


def hold_in_scope(scope: Any, run: Callable[[], None]) -> None:
    with tm.Scope(scope):
        run()


def hold_in_stack(scope: Any, run: Callable[[], None]) -> None:
    with ExitStack() as stack:
        stack.enter_context(scope)
        run()


def hold_in_manager(scope: Any, run: Callable[[], None]) -> None:
    @contextmanager
    def holding() -> Iterator[None]:
        with scope:
            yield

    with holding():
        run()


def hold_by_decorating(scope: Any, run: Callable[[], None]) -> None:
    scope(run)()


STYLES |= {
    "with": hold_with,
    "scope": hold_in_scope,
    "stack": hold_in_stack,
    "manager": hold_in_manager,
    "decorator": hold_by_decorating,
}
