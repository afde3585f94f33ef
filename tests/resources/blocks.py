"""What the blocks of the tests are made of: a model, each kind of scope over it, and managers as users write them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

import tidemill as tm

MODEL = nn.Sequential(nn.Linear(2, 2), nn.Dropout())

SCOPES: dict[str, Callable[[], Any]] = {
    "evaluating": lambda: tm.evaluating(MODEL),
    "gradients": lambda: tm.gradients(False),
    "inference": lambda: tm.gradients("inference"),
    "frozen": lambda: tm.frozen(MODEL),
    "seeded": lambda: tm.seeded(3),
    "profiler": lambda: tm.InferenceProfiler(MODEL),
}


def read_state() -> tuple[Any, ...]:
    flags = [module.training for module in MODEL.modules()]
    needs = [parameter.requires_grad for parameter in MODEL.parameters()]
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return flags, needs, modes, torch.get_rng_state().tolist()


async def pause() -> int:
    await asyncio.sleep(0)
    return 1


async def count() -> AsyncGenerator[int, None]:
    for number in range(2):
        await asyncio.sleep(0)
        yield number


@contextmanager
def holding(scope: Any) -> Iterator[None]:
    """As users write their own."""
    with scope:
        yield


class Holder:
    """As users write their own, by hand."""

    def __init__(self, scope: Any) -> None:
        self.scope = scope

    def __enter__(self) -> Any:
        return self.scope.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self.scope.__exit__(*error)

    async def __aenter__(self) -> Any:
        return self.scope.__enter__()

    async def __aexit__(self, *error: Any) -> Any:
        return self.scope.__exit__(*error)
