"""What pgvector costs by Tidemill: a bulk load against COPY by hand, and searches against psycopg by hand.

    python benchmarks/stores_pgvector.py                # about five minutes
    python benchmarks/stores_pgvector.py --records 5000 --rounds 2

One server (pgserver, its defaults), fresh tables of the same columns, the ways in turn in each round; a ratio is the
median of the rounds' own. CPU is the client's and, beside it, that of the connections' server processes. By hand is one
COPY of all records: by rows as psycopg's documentation has it (`write_row`), or of bytes that were put together by the
same code as Tidemill's. Tidemill's is an upsert for each 5,000, which also finds out whether the ids are there: judged
with one in flight, as a loop has them, and with two, as a step does. The store is as it is by default, but for an index
over few records too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import orjson
import psutil
import psycopg
from psycopg.types import TypeInfo
from psycopg.types.json import Jsonb

from machine import describe_machine
from ratios import Ratio
from tables import Target, render_table
from tidemill.stores.batch import Batch
from tidemill.stores.pgvector.settings import Hnsw, PgVector
from tidemill.stores.pgvector.values import HEADER, TRAILER, Vector, iter_rows, register_vectors, render_vectors
from workload import WORK

DIMENSIONS = 384
BATCH = 5_000
LOAD_RATIO, SEARCH_RATIO = 1.3, 1.2
HEAD = ("", "records/s", "client us", "server us", "wall, of rows", "CPU, of rows")
SEARCHES, IN_FLIGHT, K = 2_000, 8, 10

Times = tuple[float, float, float]
"""Seconds of wall time, of the client's CPU and of the server's."""
Took = dict[str, list[Times]]
"""What each way took in each round."""


class Bench:
    """Records, and a database to put them into."""

    def __init__(self, url: str, records: int) -> None:
        self.url = url
        self.ids = [f"document-{number:09}" for number in range(records)]
        self.vectors = np.random.default_rng(0).standard_normal((records, DIMENSIONS)).astype(np.float32)
        self.payloads = [
            {"text": f"the text of chunk {number} " * 12, "page": number % 90} for number in range(records)
        ]
        self.settings = PgVector(url=url, dimensions=DIMENSIONS, index=Hnsw(min_rows=1))

    async def open_connection(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        info = await TypeInfo.fetch(connection, "vector")
        assert info is not None
        register_vectors(info, connection)
        return connection

    @asynccontextmanager
    async def copying(self) -> AsyncIterator[psycopg.AsyncCopy]:
        statement = "COPY vectors (id, embedding, payload) FROM STDIN (FORMAT BINARY)"
        async with (
            await self.open_connection() as connection,
            connection.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            yield copy

    async def load_rows(self) -> None:
        """As the documentation has it: one row after the other."""
        async with self.copying() as copy:
            copy.set_types(["text", "vector", "jsonb"])
            start = struct.pack(">HH", DIMENSIONS, 0)
            for key, vector, payload in zip(self.ids, self.vectors, self.payloads, strict=True):
                row = (key, Vector(start + vector.astype(">f4").tobytes()), Jsonb(payload, orjson.dumps))
                await copy.write_row(row)

    async def load_bytes(self) -> None:
        """The same bytes as Tidemill's."""
        batch = Batch(self.ids, self.vectors, list(map(orjson.dumps, self.payloads)), {}, [])
        async with self.copying() as copy:
            await copy.write(HEADER)
            for rows in iter_rows(batch, range(len(self.ids))):
                await copy.write(rows)
            await copy.write(TRAILER)

    async def load_store(self) -> None:
        await self._load_store(1)

    async def load_store_twice(self) -> None:
        """As a step does it: an upsert is made ready while the one before is under way."""
        await self._load_store(2)

    async def _load_store(self, in_flight: int) -> None:
        starts = iter(range(0, len(self.ids), BATCH))
        async with self.settings.open() as store:

            async def work() -> None:
                for start in starts:
                    stop = start + BATCH
                    await store.upsert(self.ids[start:stop], self.vectors[start:stop], self.payloads[start:stop])

            await asyncio.gather(*(work() for _ in range(in_flight)))

    async def search_by_hand(self, queries: Any) -> None:
        """A statement a query, as many connections as queries in flight."""
        numbers = iter(range(len(queries)))
        statement = "SELECT id, payload, embedding <=> %s FROM vectors ORDER BY 3 LIMIT %s"
        vectors = render_vectors(queries)

        async def work() -> None:
            async with await self.open_connection() as connection:
                await connection.execute("SET hnsw.ef_search = 100")
                for number in numbers:
                    cursor = await connection.execute(statement, [vectors[number], K], binary=True)
                    assert len(await cursor.fetchall()) == K

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    async def search_store(self, queries: Any) -> None:
        numbers = iter(range(len(queries)))
        async with self.settings.open() as store:

            async def work() -> None:
                for number in numbers:
                    [found] = await store.search(queries[number : number + 1], K)
                    assert len(found) == K

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    async def clear(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute("DROP TABLE IF EXISTS vectors")
        async with self.settings.open():
            pass
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute("CHECKPOINT")


@contextmanager
def serve() -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server of its own, and its first process."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
    import pgserver

    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        server = pgserver.get_server(folder)  # type: ignore[attr-defined]
        try:
            yield server.get_uri(), psutil.Process(server.get_pid())
        finally:
            server.cleanup()


def server_cpu_s(server: psutil.Process) -> float:
    """What the server's processes took that have ended: a connection has one."""
    times = server.cpu_times()
    return float(times.children_user + times.children_system)


async def measure(server: psutil.Process, way: Callable[[], Awaitable[None]]) -> Times:
    before, cpu, started = server_cpu_s(server), time.process_time(), time.perf_counter()
    await way()
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    await asyncio.sleep(0.2)  # until the processes of closed connections are waited for
    return wall, cpu, server_cpu_s(server) - before


async def compare(bench: Bench, server: psutil.Process, rounds: int) -> list[Target]:
    ways = {
        "COPY by hand, rows": bench.load_rows,
        "COPY by hand, bytes": bench.load_bytes,
        "Tidemill": bench.load_store,
        "Tidemill, two in flight": bench.load_store_twice,
    }
    took: Took = {name: [] for name in [*ways, "Tidemill, all there"]}
    for _ in range(rounds):
        for name, way in ways.items():
            await bench.clear()
            took[name].append(await measure(server, way))
        took["Tidemill, all there"].append(await measure(server, bench.load_store))
    first, *_ = took.values()
    print(f"\nBulk load of {len(bench.ids):,} records of {DIMENSIONS} numbers, {rounds} rounds")
    print(render_table(HEAD, render_rows(took, first, len(bench.ids))))
    judged = {"one in flight": "Tidemill", "two in flight": "Tidemill, two in flight"}
    return [
        Ratio.from_rounds(took[way], first).judge(f"pgvector, bulk load, {label}", "COPY by hand", LOAD_RATIO)
        for label, way in judged.items()
    ]


async def compare_searches(bench: Bench, server: psutil.Process, rounds: int) -> list[Target]:
    async with bench.settings.open() as store:
        started = time.perf_counter()
        await store.flush()
        print(f"\nflush, with HNSW: {time.perf_counter() - started:.1f} s")
    queries = np.random.default_rng(1).standard_normal((SEARCHES, DIMENSIONS)).astype(np.float32)
    ways = {"psycopg by hand": bench.search_by_hand, "Tidemill": bench.search_store}
    took: Took = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            took[name].append(await measure(server, lambda way=way: way(queries)))  # type: ignore[misc] # of this turn
    first, *_ = took.values()
    print(f"\n{SEARCHES:,} searches, {IN_FLIGHT} in flight, k = {K}")
    print(render_table(("", "searches/s", *HEAD[2:4], "wall", "CPU"), render_rows(took, first, SEARCHES)))
    ratio = Ratio.from_rounds(took["Tidemill"], first)
    return [ratio.judge(f"pgvector, searches, {IN_FLIGHT} in flight", "psycopg by hand", SEARCH_RATIO)]


def render_rows(took: Took, first: list[Times], count: int) -> list[list[str]]:
    """A row for each way; its ratios are the median of those of the rounds."""
    rows = []
    for name, each in took.items():
        wall, client, at_server = (statistics.median(values) for values in zip(*each, strict=True))
        ratio = Ratio.from_rounds(each, first)
        shown = [f"{count / wall:,.0f}", f"{client / count * 1e6:.1f}", f"{at_server / count * 1e6:.1f}"]
        rows.append([name, *shown, f"{ratio.wall:.2f}x", f"{ratio.cpu:.2f}x"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    told = parser.parse_args()
    print(describe_machine(WORK, ("tidemill", "psycopg", "psycopg-pool", "pgserver")), flush=True)
    with serve() as (url, server):
        bench = Bench(url, told.records)
        targets = asyncio.run(compare(bench, server, told.rounds))
        targets += asyncio.run(compare_searches(bench, server, told.rounds))
    print("\n" + "\n".join(map(str, targets)))


if __name__ == "__main__":
    main()
