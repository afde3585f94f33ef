"""Goes through the records of a file in one of several ways; see `streams.py`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from children import cpu_s, peak_rss_mb, rss_mb, tell

Record = dict[str, Any]


def add_length(record: Record) -> Record:
    return {**record, "n": len(record["text"])}


def has_length(record: Record) -> bool:
    return bool(record["n"] > 0)


def loop_lines(path: Path) -> Iterator[Record]:
    """The generator one writes by hand."""
    import orjson

    with open(path, "rb") as file:
        for line in file:
            yield orjson.loads(line)


def loop_lengths(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        yield add_length(record)


def loop_kept(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if has_length(record):
            yield record


def loop_rows(path: Path) -> Iterator[Record]:
    """pyarrow at its best: small batches, one row group's columns read as they are needed."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def stream_of(path: Path, **options: Any) -> Any:
    import tidemill as tm

    return tm.read(path, **options)


def stream_generated(count: int) -> Any:
    """A map and a filter over records that are made as they are asked for."""
    import tidemill as tm

    def generate() -> Iterator[Record]:
        for number in range(count):
            yield {"id": number, "text": "a text"}

    return tm.from_iterable(generate).map(add_length).filter(has_length)


def stream_huggingface(kind: str, path: Path) -> Iterator[Record]:
    import datasets

    datasets.disable_progress_bars()
    records: Iterator[Record] = iter(datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True))
    return records


WAYS: dict[str, Callable[[str], Iterable[Record]]] = {
    "generator": lambda path: loop_lines(Path(path)),
    "generator, map + filter": lambda path: loop_kept(loop_lengths(loop_lines(Path(path)))),
    "pyarrow": lambda path: loop_rows(Path(path)),
    "tidemill": lambda path: stream_of(Path(path)).iterate(),
    "tidemill, skip": lambda path: stream_of(Path(path), on_error="skip").iterate(),
    "tidemill, map + filter": lambda path: stream_of(Path(path)).map(add_length).filter(has_length).iterate(),
    "tidemill, generated": lambda count: stream_generated(int(count)).iterate(),
    "huggingface, json": lambda path: stream_huggingface("json", Path(path)),
    "huggingface, parquet": lambda path: stream_huggingface("parquet", Path(path)),
}


def warm_up(way: str) -> None:
    """Import what the way works with, so that the clock and the growth are those of the records alone."""
    if way.startswith("huggingface"):
        import datasets  # noqa: F401
    if way == "pyarrow" or way.startswith("tidemill"):
        import pyarrow.parquet  # noqa: F401
    if way.startswith("tidemill"):
        import tidemill as tm

        assert list(tm.from_iterable([{"text": "a"}]).map(add_length).filter(has_length))


def main(way: str, argument: str, limit: int) -> None:
    warm_up(way)
    held_mb = rss_mb()
    count = characters = 0
    wall, cpu = time.perf_counter(), cpu_s()
    records = iter(WAYS[way](argument))
    if way.startswith("huggingface"):  # what it takes to open is left out: it would count against few records
        next(records)
        wall, cpu = time.perf_counter(), cpu_s()
    for record in records:
        characters += len(record["text"])
        count += 1
        if count == limit:
            break
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    resumable = bool(getattr(records, "state", dict)())
    peak = peak_rss_mb()
    tell(
        records=count,
        characters=characters,
        wall_s=wall,
        cpu_s=cpu,
        peak_rss_mb=peak,
        grown_mb=peak - held_mb,
        resumable=resumable,
    )


if __name__ == "__main__":
    chosen, place, most = sys.argv[1:]
    main(chosen, place, int(most))
