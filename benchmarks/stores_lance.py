"""What LanceDB costs by Tidemill: upserts and searches against its own client used directly, in one process, in turn.

    python benchmarks/stores_lance.py                # about four minutes
    python benchmarks/stores_lance.py --records 10000 --rounds 2

Tables of the same columns; by hand the same Arrow table is made of the same lists, and merged as it has to be for no id
to be there twice: with the primary key, and without an index of ids. CPU is the process's, LanceDB's threads with it.
The store is as it is by default, but for an index over few records too. LanceDB does not bring to the disk what it
wrote, which the default does: judged are both, the default and `sync: false`, which does what the client does.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import orjson
import pyarrow as pa

from machine import describe_machine
from ratios import Ratio
from tables import Target, render_table
from tidemill.stores.lance.opened import LanceStore
from tidemill.stores.lance.rows import make_schema
from tidemill.stores.lance.settings import LanceDB
from tidemill.stores.vectors import Matrix
from workload import WORK

DIMENSIONS = 384
BATCH = 5_000
K, SEARCHES, IN_FLIGHT = 10, 192, 64
BESIDE = "its own client"
RATIO = 1.2
HEAD = ("", "a second", "CPU us", "wall, of its client", "CPU, of its client")
COLUMNS = ["id", "payload", "_distance"]

Way = Callable[[], Awaitable[object]]


class Bench:
    """Records, queries, and folders to put them into."""

    def __init__(self, folder: Path, records: int) -> None:
        rng = np.random.default_rng(0)
        self.folder = folder
        self.ids = [f"document-{number:09}" for number in range(records)]
        centres = rng.standard_normal((200, DIMENSIONS), dtype=np.float32)
        noise = rng.standard_normal((records, DIMENSIONS), dtype=np.float32)
        self.vectors: Matrix = centres[np.arange(records) % 200] + noise
        self.payloads = [
            {"text": f"the text of chunk {number} " * 12, "page": number % 90} for number in range(records)
        ]
        self.queries: Matrix = self.vectors[:: max(1, records // SEARCHES)][:SEARCHES] + np.float32(0.1)

    def settings(self, **more: Any) -> LanceDB:
        return LanceDB(path=self.folder, dimensions=DIMENSIONS, index_above=1, **more)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    async def open_table(self) -> Any:
        connection = await lancedb.connect_async(self.folder, read_consistency_interval=timedelta(0))
        return await connection.create_table("vectors", schema=make_schema(self.settings()), exist_ok=True)

    async def upsert_by_hand(self) -> None:
        table = await self.open_table()
        for start in range(0, len(self.ids), BATCH):
            stop = start + BATCH
            rows = self.vectors[start:stop]
            columns = [
                pa.array(self.ids[start:stop]),
                pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), DIMENSIONS),
                pa.array([orjson.dumps(each) for each in self.payloads[start:stop]], pa.string()),
            ]
            merge = table.merge_insert("id").use_index(False).when_matched_update_all().when_not_matched_insert_all()
            await merge.execute(pa.table(columns, schema=make_schema(self.settings())))

    async def upsert_store(self, **more: Any) -> None:
        async with self.settings(**more).open() as store:
            for start in range(0, len(self.ids), BATCH):
                stop = start + BATCH
                await store.upsert(self.ids[start:stop], self.vectors[start:stop], self.payloads[start:stop])

    async def upsert_unsynced(self) -> None:
        await self.upsert_store(sync=False)

    async def compare_upserts(self, rounds: int) -> dict[str, Ratio]:
        ways: dict[str, Way] = {
            BESIDE: self.upsert_by_hand,
            "by default": self.upsert_store,
            "`sync: false`": self.upsert_unsynced,
        }
        print(f"\nUpserts of {len(self.ids):,} new records of {DIMENSIONS} numbers, {BATCH:,} at once")
        return await compare(ways, len(self.ids), rounds, before=self.clear)


async def search_by_hand(table: Any, queries: Matrix) -> list[list[dict[str, Any]]]:
    """One query after the other, or a list of them in one, as its documentation has it."""
    vectors = list(queries) if len(queries) > 1 else queries[0]
    query = table.query().nearest_to(vectors).distance_type("cosine").limit(K)
    found = (await query.minimum_nprobes(20).maximum_nprobes(0).select(COLUMNS).to_arrow()).to_pylist()
    for row in found:
        row["payload"] = orjson.loads(row["payload"])
    return [found]


async def compare_searches(bench: Bench, rounds: int, name: str) -> dict[str, Ratio]:
    """One after the other, many at once, and many in one call."""
    queries = bench.queries
    singles = [queries[number : number + 1] for number in range(len(queries))]
    table = await bench.open_table()
    async with bench.settings().open() as store:

        async def one_by_one(search: Callable[[Matrix], Awaitable[object]]) -> None:
            for single in singles[:IN_FLIGHT]:
                await search(single)

        async def at_once(search: Callable[[Matrix], Awaitable[object]]) -> None:
            waiting = iter(singles)

            async def work() -> None:
                for single in waiting:
                    await search(single)

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

        def by_hand(asked: Matrix) -> Awaitable[object]:
            return search_by_hand(table, asked)

        def by_store(asked: Matrix) -> Awaitable[object]:
            return store.search(asked, K)

        found: dict[str, Ratio] = {}
        for label, way, count in (
            ("one after the other", one_by_one, IN_FLIGHT),
            (f"{IN_FLIGHT} in flight", at_once, len(queries)),
            (f"{len(queries)} in one call", lambda search: search(queries), len(queries)),
        ):
            print(f"\nSearches, {name}, {label}, k = {K}")
            ways: dict[str, Way] = {
                BESIDE: lambda way=way: way(by_hand),  # type: ignore[misc]
                "Tidemill": lambda way=way: way(by_store),  # type: ignore[misc]
            }
            found[label] = (await compare(ways, count, rounds))["Tidemill"]
        print(f"recall: {await measure_store(store, bench):.3f}")
    table.close()
    return found


async def measure_store(store: LanceStore, bench: Bench) -> float:
    """How many of the nearest it finds, of those that all vectors compared by NumPy have."""
    held = bench.vectors / np.linalg.norm(bench.vectors, axis=1, keepdims=True)
    found = [[match.id.rpartition("-")[2] for match in matches] for matches in await store.search(bench.queries, K)]
    scores = bench.queries @ held.T
    nearest = np.argpartition(-scores, K, axis=1)[:, :K]
    hits = sum(len(set(map(int, each)) & set(row)) for each, row in zip(found, nearest.tolist(), strict=True))
    return hits / nearest.size


async def compare(
    ways: dict[str, Way], count: int, rounds: int, before: Callable[[], None] | None = None
) -> dict[str, Ratio]:
    """What each way takes over the first; prints the table."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            if before is not None:
                before()
            started, cpu = time.perf_counter(), time.process_time()
            await way()
            if number:  # the first opens what is opened once
                took[name].append((time.perf_counter() - started, time.process_time() - cpu))
    first, *_ = took.values()
    ratios = {name: Ratio.from_rounds(each, first) for name, each in took.items()}
    rows = []
    for name, each in took.items():
        wall, cpu = (statistics.median(values) for values in zip(*each, strict=True))
        shown = [f"{ratios[name].wall:.2f}x", f"{ratios[name].cpu:.2f}x"]
        rows.append([name, f"{count / wall:,.0f}", f"{cpu / count * 1e6:,.0f}", *shown])
    print(render_table(HEAD, rows), flush=True)
    return ratios


async def run(records: int, rounds: int) -> list[Target]:
    bench = Bench(WORK / "lance", records)
    try:
        upserts = await bench.compare_upserts(rounds)
        del upserts[BESIDE]
        targets = [ratio.judge(f"LanceDB, upsert, {label}", BESIDE, RATIO) for label, ratio in upserts.items()]
        for name in ("exact", "indexed"):
            if name == "indexed":
                async with bench.settings().open() as store:
                    started = time.perf_counter()
                    await store.flush()
                    print(f"\nflush, with an index of {records:,} vectors: {time.perf_counter() - started:.1f} s")
            searches = await compare_searches(bench, rounds, name)
            targets += [ratio.judge(f"LanceDB, {name}, {label}", BESIDE, RATIO) for label, ratio in searches.items()]
    finally:
        bench.clear()
    return targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    told = parser.parse_args()
    print(describe_machine(WORK, ("tidemill", "lancedb", "pyarrow", "numpy")), flush=True)
    print("\n" + "\n".join(map(str, asyncio.run(run(told.records, told.rounds)))))


if __name__ == "__main__":
    main()
