"""What the step `search` of a durable job costs, beside the store's own client with as many searches in flight.

    python benchmarks/search_step.py                   # about ten minutes
    python benchmarks/search_step.py --records 10000 --queries 500 --rounds 3

The job keeps what each search found in its ledger and lands it as Parquet; the client keeps nothing. Both search one
table of LanceDB with its index, in turn; the store is as it is by default, but for an index over few records too. The
target is 2,000 searches a second of wall time, or 0.9 of the client's, whichever is less.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tidemill as tm
from machine import describe_machine
from ratios import Ratio
from stores_lance import BESIDE, DIMENSIONS, IN_FLIGHT, Bench, K, search_by_hand
from tables import Target, render_table
from workload import WORK

QUERIES = 4_000
PER_SECOND, OF_CLIENT = 2_000, 0.9
STEP = "the step, in a job"


def search_by_job(bench: Bench, queries: list[dict[str, Any]]) -> None:
    """All queries through a run of its own."""
    out = WORK / "search-step"
    shutil.rmtree(out, ignore_errors=True)
    limits = tm.Limits.model_validate({"concurrency": IN_FLIGHT})
    report = (
        tm.from_iterable(queries)
        .search(bench.settings(), k=K, limits=limits)
        .drop("embedding")
        .write(out, progress=False)
    )
    assert report.records["landed"] == len(queries), report.reason
    shutil.rmtree(out)


def search_by_client(bench: Bench, queries: list[dict[str, Any]]) -> None:
    """All queries by tasks of one loop, as many as the job has in flight."""

    async def run() -> None:
        table = await bench.open_table()
        waiting = iter(queries)

        async def work() -> None:
            for query in waiting:
                await search_by_hand(table, np.asarray([query["embedding"]], np.float32))

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        table.close()

    asyncio.run(run())


def measure(way: Callable[[], None]) -> tuple[float, float]:
    started, cpu = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - started, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(describe_machine(WORK, ("tidemill", "lancedb", "pyarrow", "numpy")), flush=True)
    bench = Bench(WORK / "lance-search", options.records)
    bench.clear()
    try:
        asyncio.run(bench.upsert_store())
        asyncio.run(flush(bench))
        rng = np.random.default_rng(1)
        chosen = bench.vectors[rng.integers(0, options.records, options.queries)] + np.float32(0.1)
        queries = [{"id": number, "embedding": each.tolist()} for number, each in enumerate(chosen)]
        took: dict[str, list[tuple[float, float]]] = {BESIDE: [], STEP: []}
        for _ in range(options.rounds):
            took[BESIDE].append(measure(lambda: search_by_client(bench, queries)))
            took[STEP].append(measure(lambda: search_by_job(bench, queries)))
    finally:
        bench.clear()
    report(took, options.records, options.queries)


async def flush(bench: Bench) -> None:
    """Have the index built."""
    async with bench.settings().open() as store:
        await store.flush()


def report(took: dict[str, list[tuple[float, float]]], records: int, queries: int) -> None:
    print(f"\n{queries:,} searches of {records:,} vectors of {DIMENSIONS} numbers, k = {K}, {IN_FLIGHT} in flight")
    rates = {name: queries / statistics.median(wall for wall, _ in each) for name, each in took.items()}
    rows = [
        [name, f"{rates[name]:,.0f}", f"{statistics.median(cpu for _, cpu in each) / queries * 1e6:,.0f}"]
        for name, each in took.items()
    ]
    print(render_table(("", "a second", "CPU us"), rows))
    ratio = Ratio.from_rounds(took[STEP], took[BESIDE])
    of_client = 1 / ratio.wall
    said = f"{rates[STEP]:,.0f}/s, {of_client:.2f}x the rate and {ratio.cpu:.2f}x the CPU of {BESIDE}"
    is_met = rates[STEP] >= PER_SECOND or of_client >= OF_CLIENT
    print(f"\n{Target('search step', said, f'{PER_SECOND:,}/s or {OF_CLIENT}x', is_met)}")


if __name__ == "__main__":
    main()
