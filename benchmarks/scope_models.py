"""The rows of `scopes.py` about models: a profiler's block, and the small ones, against what torch has by hand."""

from __future__ import annotations

from typing import Any

import tidemill as tm
from scope_ways import Setting, Way, render_ways, time_ways
from tables import Target

BY_HAND = "eval() and train() by hand"
LAYERS = 100
BLOCK_US, MODULE_US = 50.0, 0.2
SHARE = 100
"""A block over a model is so many times what a latency block is."""


def make_model(layers: int) -> Any:
    """`3 * layers + 1` modules."""
    from torch import nn

    return nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Dropout()) for _ in range(layers)))


def measure_models(setting: Setting) -> list[str]:
    """Blocks around nothing, over a model that trains and one that does not; gives what was not put back."""
    import torch

    training, evaluating, single = make_model(LAYERS), make_model(LAYERS).eval(), torch.nn.Linear(2, 2).eval()
    modules = sum(1 for _ in training.modules())

    def by_hand(times: int) -> None:
        for _ in range(times):
            training.eval()
            training.train()

    def hold(model: Any, kind: Any) -> Way:
        def way(times: int) -> None:
            for _ in range(times):
                with kind(model):
                    pass

        return way

    ways: dict[str, Way] = {
        BY_HAND: by_hand,
        "tm.evaluating, model trains": hold(training, tm.evaluating),
        "tm.evaluating, already right": hold(evaluating, tm.evaluating),
        "tm.InferenceProfiler, model trains": hold(training, tm.InferenceProfiler),
        "tm.InferenceProfiler, already right": hold(evaluating, tm.InferenceProfiler),
        "tm.InferenceProfiler, one module": hold(single, tm.InferenceProfiler),
        "tm.gradients": hold(False, tm.gradients),
        "tm.frozen, one layer": hold(torch.nn.Linear(2, 2), tm.frozen),
        "tm.seeded": hold(1, tm.seeded),
    }
    smaller = Setting(setting.times // SHARE, setting.rounds)
    found = time_ways(ways, smaller)
    print(f"\nblocks around nothing, {modules} modules, {smaller.times:,} at a time, median of {smaller.rounds}")
    print(render_ways(found, BY_HAND))
    one_us = found["tm.InferenceProfiler, one module"] / 1e3
    print(Target("profiler's block, one module", f"{one_us:.1f} us", f"under {BLOCK_US:g} us", one_us < BLOCK_US))
    most_us = BLOCK_US + MODULE_US * modules
    for what in ("already right", "model trains"):
        block_us = found[f"tm.InferenceProfiler, {what}"] / 1e3
        aim = f"under {most_us:.0f} us, {BLOCK_US:g} and {MODULE_US:g} a module"
        print(Target(f"profiler's block, {what}", f"{block_us:.0f} us", aim, block_us < most_us), flush=True)
    wrong = sum(not module.training for module in training.modules())
    return [f"{wrong} modules are not in training mode again"] if wrong else []
