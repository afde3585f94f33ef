"""Context managers: a model after an evaluation that raises: its modules' modes, and whether gradients are recorded.

Run as a script it prints the counts of each way: in a process of its own, so that torch is in no other row's memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import tidemill as tm
from rows import Cell, Row, Setting


class UserError(Exception):
    """What the evaluation raises."""


def show_model(setting: Setting) -> Row:
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    return Row(
        "context managers",
        "a model in training, one of its norms frozen, after an evaluation that raises: what is no longer as it was",
        [_show(counts) for counts in json.loads(done.stdout)],
        "by hand: `was = model.training; model.eval(); try: … finally: model.train(was)` within `torch.no_grad()`: "
        "`train(True)` reaches every submodule, the frozen one too",
    )


def _make_model() -> Any:
    from torch import nn

    norms = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    model = nn.Sequential(nn.Linear(4, 4), norms, nn.Dropout(), nn.Linear(4, 4))
    model.train()
    norms[1].eval()  # frozen: its statistics are those of another data set
    return model


def _show(counts: Mapping[str, int]) -> Cell:
    gradients = "gradients recorded" if counts["records_gradients"] else "no gradients"
    wrong = f"{counts['wrong']} of {counts['modules']} modules" if counts["wrong"] else "nothing"
    return Cell(f"{wrong}, {gradients}", counts)


def _try(evaluate: Callable[[Any], None]) -> dict[str, int]:
    import torch

    model = _make_model()
    before = [module.training for module in model.modules()]
    try:
        evaluate(model)
    except UserError:
        wrong = sum(was != module.training for was, module in zip(before, model.modules(), strict=True))
        records = torch.is_grad_enabled()
    else:
        raise AssertionError("the evaluation raises")
    torch.set_grad_enabled(True)
    return {"modules": len(before), "wrong": wrong, "records_gradients": int(records)}


def _eval(model: Any) -> None:
    import torch

    torch.set_grad_enabled(False)
    model.eval()
    _work(model)
    model.train()
    torch.set_grad_enabled(True)


def _try_finally(model: Any) -> None:
    import torch

    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            _work(model)
    finally:
        model.train(was)


def _profiler(model: Any) -> None:
    with tm.InferenceProfiler(model):
        _work(model)


def _work(model: Any) -> None:
    import torch

    model(torch.ones(2, 4))
    raise UserError


if __name__ == "__main__":
    print(json.dumps([_try(evaluate) for evaluate in (_eval, _try_finally, _profiler)]))
