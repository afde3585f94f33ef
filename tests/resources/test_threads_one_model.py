"""Threads may hold one model at once: it is in evaluation mode in each block, and at the end as the first found it.

Ten thousand blocks a thread are `make scopes`, which `make check` runs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch

import tidemill as tm
from crowding import check_crowd, make_model, read_flags

THREADS = 8


def test_eight_threads_over_one_model() -> None:
    assert check_crowd(THREADS, 300) >= THREADS * 300


@pytest.mark.parametrize("leaves_first", range(3))
def test_the_last_to_leave_puts_back_what_the_first_one_saw(leaves_first: int) -> None:
    """Whichever of three threads leaves first."""
    model = make_model()
    before = read_flags(model)
    entered = Barrier(3)
    turns = [Barrier(3) for _ in range(3)]

    def hold(number: int) -> tuple[list[bool], ...]:
        place = (number - leaves_first) % 3
        seen = []
        scope: Any = tm.evaluating(model)
        for turn in range(3):
            if turn == number:
                scope.__enter__()
            entered.wait()
        for turn, barrier in enumerate(turns):
            if turn == place:
                seen.append(read_flags(model)[0])
                scope.__exit__(None, None, None)
            barrier.wait()
        return tuple(seen)

    with ThreadPoolExecutor(3) as pool:
        seen = list(pool.map(hold, range(3)))
    assert not any(flag for (flags,) in seen for flag in flags)
    assert read_flags(model) == before


def test_gradient_mode_is_the_threads_own() -> None:
    inside, done = Barrier(2), Barrier(2)

    def hold() -> None:
        with tm.gradients("inference"):
            inside.wait()
            done.wait()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        inside.wait()
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        with tm.gradients(False):
            done.wait()
            holding.result()
            assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
