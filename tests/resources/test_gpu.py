"""Blocks over a model on a GPU: its time, its cache, its memory and its random numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

import tidemill as tm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU: torch sees none"),
]

SIZE = 2048
MIB = 2**20


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The last GPU, which is not the current one where there are several; its cache is empty."""
    last = torch.device("cuda", torch.cuda.device_count() - 1)
    with torch.cuda.device(last):
        torch.zeros(1, device=last)
        torch.cuda.empty_cache()
    yield last
    with torch.cuda.device(last):
        torch.cuda.empty_cache()


@pytest.fixture
def model(device: torch.device) -> nn.Module:
    return nn.Sequential(nn.Linear(SIZE, SIZE), nn.Dropout()).to(device)


def compute(model: nn.Module, device: torch.device) -> torch.Tensor:
    result: torch.Tensor = model(torch.ones(SIZE, SIZE, device=device))
    return result


def keep_unused(device: torch.device) -> int:
    """Leave memory in the cache; how much the device has reserved then."""
    torch.empty(64 * MIB, dtype=torch.uint8, device=device)
    return torch.cuda.memory_reserved(device)


def test_the_time_of_the_device_is_measured_by_its_events(model: nn.Module, device: torch.device) -> None:
    with tm.InferenceProfiler(model, warmup=1) as prof:
        for _ in range(4):
            with prof.batch(SIZE):
                compute(model, device)
    report = prof.report()
    assert report.batches.count == 3
    assert report.batches.device is not None
    assert 0 < report.batches.device.total_s <= prof.device_s <= prof.elapsed_s


def test_device_time_agrees_with_events_of_ones_own(model: nn.Module, device: torch.device) -> None:
    """Within 2 %, of what takes long enough for the two pairs of events to lie close together."""
    make: Callable[..., torch.cuda.Event] = torch.cuda.Event
    first, last = make(enable_timing=True), make(enable_timing=True)
    compute(model, device)
    with tm.InferenceProfiler(model) as prof, torch.cuda.device(device):
        first.record()
        for _ in range(200):
            compute(model, device)
        last.record()
    last.synchronize()
    assert prof.device_s == pytest.approx(first.elapsed_time(last) / 1e3, rel=0.02)


def test_the_cache_of_the_models_own_device_is_cleared_once(model: nn.Module, device: torch.device) -> None:
    with tm.InferenceProfiler(model) as prof:
        with tm.InferenceProfiler(model) as inner:
            reserved = keep_unused(device)
        assert torch.cuda.memory_reserved(device) == reserved
    assert torch.cuda.memory_reserved(device) < reserved
    assert inner.report().clears == {}
    assert prof.report().clears == {str(device): 1}


def test_the_peak_is_the_blocks_own(model: nn.Module, device: torch.device) -> None:
    before = torch.cuda.memory_allocated(device)
    with tm.InferenceProfiler(model) as prof:
        torch.empty(64 * MIB, dtype=torch.uint8, device=device)
    assert before + 64 * MIB <= prof.report().peak_device_bytes[str(device)] < before + 80 * MIB


def test_out_of_memory(model: nn.Module, device: torch.device) -> None:
    prof = tm.InferenceProfiler(model, cache="on_oom")
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate") as caught, prof:
        reserved = keep_unused(device)
        torch.empty(2**50, dtype=torch.uint8, device=device)
    assert not hasattr(caught.value, "__notes__")
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()
    assert torch.cuda.memory_reserved(device) < reserved
    assert prof.report().clears == {str(device): 1}


def test_its_random_numbers_are_seeded_and_put_back(device: torch.device) -> None:
    before = torch.cuda.get_rng_state(device)
    draws = []
    for _ in range(2):
        with tm.seeded(5):
            draws.append(torch.rand(3, device=device).tolist())
    assert draws[0] == draws[1]
    assert torch.equal(torch.cuda.get_rng_state(device), before)


def test_a_model_on_the_host_initialises_no_device() -> None:
    program = """
import torch, tidemill as tm
model = torch.nn.Dropout()
with tm.InferenceProfiler(model) as prof, tm.seeded(1):
    model(torch.ones(1))
print(prof.report().clears, torch.cuda.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "{} False\n"
