"""Many payloads as a list, a generator or a stream, and the peak of memory they took; see `ideas.py`."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from children import peak_rss_mb, tell

BATCH = 1_000
KEPT_CHARS = 100
PADDING = "the tide comes in and the tide goes out again. " * 10


def make_payload(number: int) -> str:
    """About 500 bytes of text, no two the same."""
    return f"{number:09d} {PADDING}"


def summarise(payload: str) -> str:
    """A result that is worth keeping."""
    return payload[:KEPT_CHARS]


def to_record(payload: str) -> dict[str, str]:
    """A payload as it lands."""
    return {"text": payload}


def iter_payloads(count: int) -> Iterator[str]:
    return (make_payload(number) for number in range(count))


def consume(payloads: Iterable[str]) -> int:
    """Every payload looked at once."""
    return sum(map(bool, payloads))


def use_list(use: str, count: int, folder: Path) -> int:
    payloads = [make_payload(number) for number in range(count)]
    if use == "consumed":
        return consume(payloads)
    if use == "kept":
        return len([summarise(payload) for payload in payloads])
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": pa.array(payloads, pa.string())}), folder / "all.parquet", compression="zstd")
    return len(payloads)


def use_generator(use: str, count: int, folder: Path) -> int:
    payloads = iter_payloads(count)
    if use == "consumed":
        return consume(payloads)
    if use == "kept":
        return len([summarise(payload) for payload in payloads])
    import pyarrow as pa
    import pyarrow.parquet as pq

    landed = 0
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(folder / "batches.parquet", schema, compression="zstd") as writer:
        while batch := list(islice(payloads, BATCH)):
            writer.write_batch(pa.record_batch([pa.array(batch, pa.string())], schema=schema))
            landed += len(batch)
    return landed


def use_stream(use: str, count: int, folder: Path) -> int:
    import tidemill as tm

    payloads = tm.from_iterable(lambda: iter_payloads(count))
    if use == "consumed":
        return consume(payloads)
    if use == "kept":
        return len(list(payloads.map(summarise)))
    return payloads.map(to_record).write(folder / "stream", progress=False).records["landed"]


WAYS: dict[str, Callable[[str, int, Path], int]] = {"list": use_list, "generator": use_generator, "stream": use_stream}


def measure(way: str, use: str, count: int, meter: str, folder: Path) -> dict[str, Any]:
    """The payloads seen, and the peak in MiB: of the resident set, or by `tracemalloc` above a run of one before it."""
    if meter == "tracemalloc":
        for name in ("one", "full"):
            (folder / name).mkdir()
        WAYS[way](use, 1, folder / "one")
        folder /= "full"
        tracemalloc.start()
    seen = WAYS[way](use, count, folder)
    peak = tracemalloc.get_traced_memory()[1] / 2**20 if meter == "tracemalloc" else peak_rss_mb()
    return {"seen": seen, "peak_mb": peak}


if __name__ == "__main__":
    way, use, count, meter, place = sys.argv[1:]
    tell(**measure(way, use, int(count), meter, Path(place)))
