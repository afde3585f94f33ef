"""The rows of a landed dataset at hand as a list, a generator or a `tm.dataset`; see `ideas.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import tidemill as tm
from children import peak_rss_mb, tell

USES: dict[str, Callable[[Any, int], bool]] = {
    "len": lambda rows, count: len(rows) == count,
    "[7]": lambda rows, count: bool(rows[7]["text"].startswith(f"{7:09d}")),
    "[-1]": lambda rows, count: bool(rows[-1]["text"].startswith(f"{count - 1:09d}")),
    "[10:20]": lambda rows, count: len(rows[10:20]) == 10,
    "for": lambda rows, count: sum(1 for _ in rows) == count,
}


def iter_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The generator one writes by hand."""
    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()


WAYS: dict[str, Callable[[Path], Any]] = {
    "generator": iter_rows,
    "list": lambda folder: list(iter_rows(folder)),
    "dataset": tm.dataset,
}


def works(use: Callable[[Any, int], bool], rows: Any, count: int) -> bool:
    """Whether the rows can be used so."""
    try:
        return use(rows, count)
    except TypeError:
        return False


def main(way: str, folder: Path, count: int, uses: list[str]) -> None:
    rows = WAYS[way](folder) if uses else None
    worked = [name for name in uses if works(USES[name], rows, count)]
    tell(uses=worked, peak_mb=peak_rss_mb())


if __name__ == "__main__":
    way, place, count, measured = sys.argv[1:]
    main(way, Path(place), int(count), [] if measured == "empty" else list(USES))
