"""Steps that hold more than memory, beside polars, SQLite and plain Python over the same JSON Lines.

python benchmarks/across.py                       # 1,000,000 records; 32 MiB of memory for tidemill's steps
python benchmarks/across.py --records 3000000 --only read dedupe_id --ways tidemill

Each way in a process of its own: CPU a record, peak memory, how much of that is no page of a file (imports included in
both), how many records it gave, and what it kept on disk. `dedupe_id` is `dedupe` by a key that all records differ in.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import describe_machine

MEMORY = "32MiB"
WAYS = ("tidemill", "plain", "polars", "sqlite")
OWN = ("dedupe_id", "cache")
"""Steps that are not made by the other ways."""


def write_records(path: Path, count: int) -> None:
    """Records of some 150 bytes, half as many keys."""
    rng = random.Random(1)
    with open(path, "w") as file:
        for at in range(count):
            text = f"{rng.random()} and {rng.random()} and {rng.random()} and {rng.random()}"
            file.write(
                f'{{"id": {at}, "key": {rng.randrange(count // 2)}, "price": {rng.random():.2f}, "text": "{text}"}}\n'
            )


def run_tidemill(step: str, path: Path, folder: Path) -> int:
    import tidemill as tm

    stream = tm.read(str(path))
    kept: dict[str, Any] = {"dir": folder, "memory": MEMORY}
    steps: dict[str, Callable[[], tm.Stream[Any]]] = {
        "read": lambda: stream,
        "dedupe": lambda: stream.dedupe("key", dir=folder),
        "dedupe_id": lambda: stream.dedupe("id", dir=folder),
        "sort": lambda: stream.sort("key", **kept),
        "join": lambda: stream.join(
            tm.read(str(path)).select("id", "price"), "id", suffix="_2", dir=folder, memory=MEMORY
        ),
        "group_by": lambda: stream.group_by("key", **kept).agg(n="count", total=("sum", "price")),
        "cache": lambda: stream.cache(folder),
    }
    return sum(1 for _ in steps[step]())


def run_plain(step: str, path: Path, folder: Path) -> int:
    import orjson

    def read() -> Iterator[dict[str, Any]]:
        with open(path, "rb") as file:
            yield from map(orjson.loads, file)

    if step == "read":
        return sum(1 for _ in read())
    if step == "dedupe":
        return len({record["key"] for record in read()})
    if step == "sort":
        return len(sorted(read(), key=lambda record: record["key"]))
    if step == "join":
        other = {record["id"]: record["price"] for record in read()}
        return sum(1 for record in read() if {**record, "price_2": other[record["id"]]})
    totals: dict[int, list[float]] = {}
    for record in read():
        held = totals.setdefault(record["key"], [0, 0.0])
        held[0] += 1
        held[1] += record["price"]
    return len(totals)


def run_polars(step: str, path: Path, folder: Path) -> int:
    import polars as pl

    frame = pl.scan_ndjson(path)
    made = {
        "read": frame,
        "dedupe": frame.unique("key", keep="first", maintain_order=True),
        "sort": frame.sort("key", maintain_order=True),
        "join": frame.join(frame.select("id", "price"), on="id", maintain_order="left"),
        "group_by": frame.group_by("key", maintain_order=True).agg(pl.len(), pl.col("price").sum()),
    }[step]
    return sum(1 for _ in made.collect(engine="streaming").iter_rows(named=True))


def run_sqlite(step: str, path: Path, folder: Path) -> int:
    import orjson

    folder.mkdir()
    base = sqlite3.connect(folder / "base")
    base.execute("create table records (id integer, key integer, price real, text text)")
    with open(path, "rb") as file:
        rows = (tuple(record.values()) for record in map(orjson.loads, file))
        base.executemany("insert into records values (?, ?, ?, ?)", rows)
    base.commit()
    if step == "join":
        base.execute("create index of_id on records (id)")
    query = {
        "read": "select * from records",
        "dedupe": "select *, min(rowid) from records group by key",
        "sort": "select * from records order by key",
        "join": "select a.*, b.price from records a join records b on a.id = b.id",
        "group_by": "select key, count(*), sum(price) from records group by key",
    }[step]
    return sum(1 for _ in base.execute(query))


@contextmanager
def watching_memory() -> Iterator[list[float]]:
    """The megabytes of this process that are no pages of files, every 50 ms."""
    seen: list[float] = []
    is_over = threading.Event()

    def watch() -> None:
        while True:
            (line,) = re.findall(r"^RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
            seen.append(int(line) / 1000)
            if is_over.wait(0.05):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def run(way: str, step: str, path: Path) -> None:
    """One way in this process; prints what it took."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder, watching_memory() as own_mb:
        given = globals()[f"run_{way}"](step, path, Path(folder, "kept"))
        found = {"given": given, "cpu_s": time.process_time() - started}
        found["kept_mb"] = sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file()) / 1e6
    found["own_mb"] = max(own_mb)
    found["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument(
        "--only", nargs="*", default=["read", "dedupe", "dedupe_id", "sort", "join", "group_by", "cache"]
    )
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run[0], options.run[1], Path(options.run[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "records.jsonl")
        write_records(path, options.records)
        print(describe_machine(Path(folder), ("tidemill", "polars")))
        print(f"{options.records:,} records, {path.stat().st_size / 1e6:,.0f} MB of JSON Lines")
        for step in options.only:
            for way in options.ways:
                if step in OWN and way != "tidemill":
                    continue
                command = [sys.executable, __file__, "--run", way, step, str(path)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                took_us = found["cpu_s"] / options.records * 1e6
                print(
                    f"{step:9} {way:9} {took_us:6.2f} us {found['peak_rss_mb']:6.0f} MB, "
                    f"{found['own_mb']:.0f} its own, {found['given']:,} given, "
                    f"{found['kept_mb']:.0f} MB on disk",
                    flush=True,
                )


if __name__ == "__main__":
    main()
