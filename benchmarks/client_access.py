"""Records of a JSON Lines file by their numbers, in sorted batches; see `streams.py`."""

from __future__ import annotations

import mmap
import random
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

import tidemill as tm
from children import cpu_s, peak_rss_mb, tell

Fetch = Callable[[list[int]], Sequence[Any]]


def open_by_hand(path: Path) -> tuple[Fetch, int]:
    """An array of offsets and the file in memory: nothing checked, nothing kept."""
    with open(path, "rb") as file:
        offsets = array("q", accumulate(map(len, file), initial=0))
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return lambda batch: [orjson.loads(data[offsets[at] : offsets[at + 1]]) for at in batch], len(offsets) - 1


def open_dataset(path: Path) -> tuple[Fetch, int]:
    data: Any = tm.dataset(path)
    return data.__getitems__, len(data)


WAYS = {"by hand": open_by_hand, "tidemill": open_dataset}


def main(way: str, path: Path, batch_size: int, wanted: int) -> None:
    started = time.perf_counter()
    fetch, count = WAYS[way](path)
    opened_s = time.perf_counter() - started
    rng = random.Random(1)
    batches = [sorted(rng.sample(range(count), batch_size)) for _ in range(wanted // batch_size)]
    fetch(batches[0])
    wrong = 0
    wall, cpu = time.perf_counter(), cpu_s()
    for batch in batches:
        records = fetch(batch)
        wrong += records[0]["id"] != batch[0] or records[-1]["id"] != batch[-1] or len(records) != len(batch)
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    tell(
        records=len(batches) * batch_size,
        wrong=wrong,
        opened_s=opened_s,
        wall_s=wall,
        cpu_s=cpu,
        peak_rss_mb=peak_rss_mb(),
    )


if __name__ == "__main__":
    chosen, place, size, most = sys.argv[1:]
    main(chosen, Path(place), int(size), int(most))
