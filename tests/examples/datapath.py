"""The data path of `examples/train.py` alone, measured: `python datapath.py TOKENS [PATTERN…]`.

Prints as JSON how many tokens came, the most that Python held meanwhile, and by how much the process grew.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tracemalloc
from pathlib import Path

import psutil

from training.config import Data
from training.data import open_loader, open_training


def measure(data: Data, tokens: int, folder: Path) -> dict[str, int]:
    """Take batches until so many tokens came."""
    take(data, 1, folder)  # so that all modules are there
    process = psutil.Process()
    size_bytes = process.memory_info().rss
    tracemalloc.start()
    came = take(data, tokens, folder)
    held = tracemalloc.get_traced_memory()[1]
    return {"tokens": came, "held_bytes": held, "grown_bytes": process.memory_info().rss - size_bytes}


def take(data: Data, tokens: int, folder: Path) -> int:
    came = 0
    for batch in open_loader(open_training(data, folder / "passed_over.jsonl").torch(), 16):
        came += batch["window"].numel()
        if came >= tokens:
            break
    return came


if __name__ == "__main__":
    wanted, *patterns = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Data(files=patterns) if patterns else Data(), int(wanted), Path(scratch))
    sys.stdout.write(json.dumps(found))
