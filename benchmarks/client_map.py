"""A function that does nothing, mapped over so many records in one of several ways; see `streams.py`."""

from __future__ import annotations

import sys
import time
from typing import Any

import tidemill as tm
from children import cpu_s, tell


def keep(record: int) -> int:
    return record


async def keep_async(record: int) -> int:
    return record


def main(way: str, count: int, concurrency: int) -> None:
    stream: Any = tm.from_iterable(range(count))
    if way == "plain":
        mapped = stream.map(keep)
    else:
        mapped = stream.map(keep_async if way == "async" else keep, concurrency=concurrency, on=way)
    wall, cpu = time.perf_counter(), cpu_s()
    found = sum(1 for _ in mapped)
    tell(records=found, wall_s=time.perf_counter() - wall, cpu_s=cpu_s() - cpu)


if __name__ == "__main__":
    chosen, most, width = sys.argv[1:]
    main(chosen, int(most), int(width))
