"""What a `predict` step costs for each record, beside a bare loop over batches: the same model, the same results.

    python benchmarks/predict.py                  # about half a minute; on an accelerator where there is one
    python benchmarks/predict.py --records 512

Both read the records from a list in this process, in turns, and each figure is the median of the rounds. Fails when the
results differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

import tidemill as tm
from machine import describe_machine
from tables import render_table
from workload import WORK

BATCH = 256
WIDTH = 1_024
LAYERS = 8
TOLERANCE = 1e-3
"""What floats may differ by: the batches are equal, and kernels may still choose otherwise."""

Way = Callable[[], Sequence[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=8_192)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name(0) if device == "cuda" else "the processor"
    print(describe_machine(WORK, ("torch",)), flush=True)
    print(f"\n{given.records:,} records in batches of {BATCH}, on {name}, median of {given.rounds}")
    faults = [
        fault for label, ways in make_cases(given.records, device) for fault in measure(label, ways, given.rounds)
    ]
    if faults:
        sys.exit("\n".join(["DIFFERENT:", *faults]))


def make_cases(count: int, device: str) -> list[tuple[str, dict[str, Way]]]:
    """What is computed, each by a bare loop and by a stream: as little as can be, and a model of some size."""
    chance = np.random.default_rng(0)
    arrays = [{"x": row} for row in chance.standard_normal((count, WIDTH), dtype=np.float32)]
    pairs = [{"x": [number, 1.0]} for number in range(count)]
    hidden = 4 * WIDTH if device == "cuda" else WIDTH // 4
    layers = [nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU()) for _ in range(LAYERS)]
    model = nn.Sequential(nn.Linear(WIDTH, hidden), nn.ReLU(), *layers, nn.Linear(hidden, 8)).to(device).eval()
    return [
        ("pairs, a function that gives them back", make_ways(pairs, give_back, take_lists)),
        (f"arrays of {WIDTH:,}, {LAYERS + 2} layers of {hidden:,}", make_ways(arrays, model, Stacked(device))),
    ]


def make_ways(records: list[dict[str, Any]], model: Any, take: Callable[[Sequence[Any]], Any]) -> dict[str, Way]:
    def bare() -> list[Any]:
        found: list[Any] = []
        with torch.no_grad():
            for start in range(0, len(records), BATCH):
                outputs = model(take([record["x"] for record in records[start : start + BATCH]]))
                found += outputs.cpu().tolist() if isinstance(outputs, torch.Tensor) else outputs
        return found

    def predict() -> list[Any]:
        return [record["y"] for record in tm.from_iterable(records).predict(model, "x", batch=BATCH, into="y")]

    return {"bare loop": bare, "predict": predict}


def give_back(batch: Sequence[Any]) -> Sequence[Any]:
    return batch


def take_lists(values: Sequence[Any]) -> Sequence[Any]:
    return values


class Stacked:
    """Arrays as one tensor on a device."""

    def __init__(self, device: str) -> None:
        self._device = device

    def __call__(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(np.stack(values)).to(self._device)


def measure(label: str, ways: dict[str, Way], rounds: int) -> list[str]:
    """Print what each way takes for a record; gives how their results differ."""
    results = {name: way() for name, way in ways.items()}  # what is done first also warms up
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(each) for name, each in taken.items()}
    count = len(results["bare loop"])
    rows = [
        (name, f"{each:.3f}", f"{each / count * 1e6:.1f}", f"{each / seconds['bare loop']:.2f}x")
        for name, each in seconds.items()
    ]
    print(f"\n{label}\n{render_table(('', 'seconds', 'us a record', 'of the bare loop'), rows)}", flush=True)
    one, other = (np.asarray(found, dtype=np.float64) for found in results.values())
    return [] if one.shape == other.shape and np.abs(one - other).max() < TOLERANCE else [label]


if __name__ == "__main__":
    main()
