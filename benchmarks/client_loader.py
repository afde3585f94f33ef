"""The records of a JSON Lines file through PyTorch's DataLoader; see `streams.py`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import tidemill as tm
from children import cpu_s, tell


class Lines(IterableDataset[Any]):
    """The ideal: each worker parses its share of the lines, and no more."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        with open(self._path, "rb") as file:
            for number, line in enumerate(file):
                if number % turns == turn:
                    yield orjson.loads(line)


def open_stream(path: Path) -> Any:
    stream: Any = tm.read(path)
    return stream.torch()


WAYS: dict[str, Any] = {"ideal": Lines, "tidemill": open_stream}


def main(way: str, path: Path, workers: int) -> None:
    loader: DataLoader[Any] = DataLoader(WAYS[way](path), batch_size=256, num_workers=workers, collate_fn=list)
    wall, cpu = time.perf_counter(), cpu_s()
    ids: list[int] = []
    for batch in loader:
        ids += [record["id"] for record in batch]
    tell(records=len(ids), different=len(set(ids)), wall_s=time.perf_counter() - wall, cpu_s=cpu_s() - cpu)


if __name__ == "__main__":
    chosen, place, count = sys.argv[1:]
    main(chosen, Path(place), int(count))
