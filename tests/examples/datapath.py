"""The data path of `examples/train.py` alone, measured: `python datapath.py SMALL TOKENS`.

Once over the file SMALL and once over so many tokens of the standard library, each in a process of its own. Prints as
JSON how many tokens came, the most that Python held meanwhile, and by how much the process grew.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import tracemalloc
from pathlib import Path

import psutil

from training.config import Data
from training.data import open_loader, open_training


def measure(data: Data, tokens: int, folder: Path) -> dict[str, int]:
    take(data, 1, folder)  # so that all modules are there
    process = psutil.Process()
    size_bytes = process.memory_info().rss
    tracemalloc.start()
    came = take(data, tokens, folder)
    held = tracemalloc.get_traced_memory()[1]
    return {"tokens": came, "held_bytes": held, "grown_bytes": process.memory_info().rss - size_bytes}


def take(data: Data, tokens: int, folder: Path) -> int:
    """Go through batches until so many tokens came."""
    came = 0
    for batch in open_loader(open_training(data, folder / "passed_over.jsonl").torch(), 16):
        came += batch["window"].numel()
        if came >= tokens:
            break
    return came


if __name__ == "__main__":
    small, tokens = sys.argv[1:]
    # Forked, so that torch is imported once; a new process for each.
    with (
        tempfile.TemporaryDirectory() as scratch,
        multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool,
    ):
        asked = [(Data(files=[small]), 20_000, Path(scratch)), (Data(), int(tokens), Path(scratch))]
        of_one, of_library = pool.starmap(measure, asked, chunksize=1)
    sys.stdout.write(json.dumps({"of_one": of_one, "of_library": of_library}))
