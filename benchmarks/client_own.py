"""Landed rows as other libraries take them: a generator, a hand-written class, a `tm.dataset`; see `ideas.py`."""

from __future__ import annotations

import pickle
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

import tidemill as tm
from children import tell
from client_rows import iter_rows, works

PICKLE_BYTES = 10_000


class HandWritten(TorchDataset[dict[str, Any]]):
    """The class that PyTorch's tutorial shows."""

    def __init__(self, folder: Path) -> None:
        self._rows = list(iter_rows(folder))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]


WAYS: dict[str, Callable[[Path], Any]] = {"generator": iter_rows, "class": HandWritten, "dataset": tm.dataset}


def load_batches(rows: Any, count: int) -> bool:
    loader: DataLoader[Any] = DataLoader(rows, batch_size=256, shuffle=True)
    return len({text for batch in loader for text in batch["text"]}) == count


USES: dict[str, Callable[[Any, int], bool]] = {
    "a shuffling `DataLoader`": load_batches,
    "`datasets.Dataset.from_list`": lambda rows, count: len(datasets.Dataset.from_list(rows)) == count,
    "`random.sample`": lambda rows, count: len(random.sample(rows, 3)) == 3,
    "`np.asarray` of a column": lambda rows, count: np.asarray(rows["text"]).shape == (count,),
    f"`pickle` in {PICKLE_BYTES // 1_000} kB": lambda rows, count: len(pickle.dumps(rows)) <= PICKLE_BYTES,
}


def main(way: str, folder: Path, count: int) -> None:
    warnings.simplefilter("ignore")  # torch's, about pinning and threads
    tell(uses=[name for name, use in USES.items() if works(use, WAYS[way](folder), count)], all=list(USES))


if __name__ == "__main__":
    chosen, place, number = sys.argv[1:]
    main(chosen, Path(place), int(number))
