"""Vectors and databases as sources, beside the same by hand: rows and slices of `.npy`, rows of a query.

python benchmarks/sources.py           # about a minute of CPU
python benchmarks/sources.py --quick

CPU time of this process, the least of several rounds, each way after the other in each round; PostgreSQL is a process
of its own, whose time is not counted. Fails where a way takes more than its bound of the other's time.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pgserver
import psycopg

import tidemill as tm
from machine import describe_machine

DIMENSIONS = 384
ROUNDS = 5


@dataclass(frozen=True)
class Pair:
    """One piece of work by hand and as a source.

    Attributes:
        bound: the most of the hand's time that the source may take; None where they do not do the same.
    """

    name: str
    count: int
    hand: Callable[[], object]
    own: Callable[[], object]
    bound: float | None = None


def consume(records: Iterator[Any] | Any) -> None:
    deque(records, maxlen=0)


def iter_memmap(path: Path) -> Iterator[dict[str, Any]]:
    for row in np.load(path, mmap_mode="r"):
        yield {"vector": row}


def iter_cursor(connection: Any, cursor: Any, sql: str) -> Iterator[dict[str, Any]]:
    with closing(connection):
        cursor.execute(sql)
        names = [each[0] for each in cursor.description]
        while rows := cursor.fetchmany(1_000):
            for row in rows:
                yield dict(zip(names, row, strict=True))


def list_array_pairs(folder: Path, rows: int) -> list[Pair]:
    path = folder / "vectors.npy"
    np.save(path, np.random.default_rng(0).random((rows, DIMENSIONS), np.float32))
    data, mapped = tm.dataset(path), np.load(path, mmap_mode="r")
    places = np.random.default_rng(1).permutation(rows)[: rows // 4].tolist()
    spans = [(start, start + 256) for start in range(0, rows - 256, 256)]
    return [
        Pair("npy, gone through", rows, lambda: consume(iter_memmap(path)), lambda: consume(tm.read(path)), 1.0),
        Pair(
            "npy, rows by number",
            len(places),
            lambda: consume({"vector": mapped[place]} for place in places),
            lambda: consume(map(data.__getitem__, places)),
        ),
        Pair(
            "npy, rows in batches of 256",
            rows,
            lambda: consume([{"vector": mapped[n]} for n in range(*span)] for span in spans),
            lambda: consume(data.__getitems__(range(*span)) for span in spans),
        ),
        Pair(
            "npy, slices of 256 as arrays",
            len(spans),
            lambda: consume(mapped[start:stop] for start, stop in spans),
            lambda: consume(np.asarray(data[start:stop]["vector"]) for start, stop in spans),
        ),
    ]


def list_sql_pairs(folder: Path, url: str, rows: int) -> list[Pair]:
    path = folder / "rows.db"
    values = ((n, f"text of row {n} " * 10, n / 7) for n in range(rows))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT, score REAL)")
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", values)
    with psycopg.connect(url) as postgres:
        postgres.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT, score FLOAT)")
        made = "SELECT n, repeat('text of row ' || n || ' ', 10), n / 7.0 FROM generate_series(0, %s) AS n"
        postgres.execute(f"INSERT INTO items {made}".encode(), (rows - 1,))
    sql = "SELECT id, text, score FROM items ORDER BY id"
    own = "SELECT id, text, score FROM items"

    def by_sqlite() -> None:
        connection = sqlite3.connect(path)
        consume(iter_cursor(connection, connection.cursor(), sql))

    def by_psycopg() -> None:
        connection = psycopg.connect(url)
        consume(iter_cursor(connection, connection.cursor("hand"), sql))

    return [
        Pair("SQLite", rows, by_sqlite, lambda: consume(tm.from_sql(own, f"sqlite:///{path}", key="id")), 2.0),
        Pair("PostgreSQL", rows, by_psycopg, lambda: consume(tm.from_sql(own, url, key="id")), 1.75),
    ]


def measure(act: Callable[[], object]) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started


@contextmanager
def open_postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        server = pgserver.get_server(folder)  # type: ignore[attr-defined]
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    quick = parser.parse_args().quick
    failed = 0
    with tempfile.TemporaryDirectory() as name, open_postgres() as url:
        folder = Path(name)
        print(describe_machine(folder, ("tidemill", "numpy", "psycopg")))
        print("| source | count | by hand, us | tidemill, us | ratio |")
        print("| --- | --- | --- | --- | --- |")
        pairs = [
            *list_array_pairs(folder, 20_000 if quick else 200_000),
            *list_sql_pairs(folder, url, 10_000 if quick else 200_000),
        ]
        for pair in pairs:
            rounds = [(measure(pair.hand), measure(pair.own)) for _ in range(2 if quick else ROUNDS)]
            hand, own = (min(times) for times in zip(*rounds, strict=True))
            per = [each / pair.count * 1e6 for each in (hand, own)]
            bound = "" if pair.bound is None else f" (at most {pair.bound:g})"
            print(f"| {pair.name} | {pair.count:,} | {per[0]:.2f} | {per[1]:.2f} | {own / hand:.2f}{bound} |")
            failed += pair.bound is not None and not quick and own > hand * pair.bound
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
