"""Every source and every step there is, each with small examples for the contract suite to go through.

A class that is not here fails `test_everything_is_registered`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pdfs import make_pdf

from tidemill.data.flow import Flow
from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.formats.saving import save_records
from tidemill.data.formats.tar.tar import TAR
from tidemill.data.iteration import iterate
from tidemill.data.joined.mixed import Mix
from tidemill.data.joined.rows import ConcatRows, ZipRows
from tidemill.data.joined.ways import Concat, Interleave, Zip
from tidemill.data.nodes.across import (
    Batch,
    Every,
    Pack,
    Pick,
    Prefetch,
    Repeat,
    Sample,
    Shard,
    Shuffle,
    Skip,
    Slice,
    Sliding,
    Take,
    Until,
)
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.keeping import Cache, Dedupe, GroupBy, Join, Other, Sort
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import (
    Catch,
    Chunk,
    Drop,
    Filter,
    FlatMap,
    Map,
    Observe,
    Rename,
    Select,
    Split,
    Tokenize,
    Unbatch,
    WithColumns,
)
from tidemill.data.rows.index import full_index
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles, find_row_files
from tidemill.data.sources.rows import ObjectSource, RowSource, RowView
from tidemill.data.sources.sql import SQL
from tidemill.jobs.ledger.replay import Replay
from tidemill.protocols import Source

RECORDS = 13
"""Records of an example source; small, since every position of every pipeline is resumed from."""

MakeSource = Callable[[Path], Source]


def make_records(start: int = 0, count: int = RECORDS) -> list[dict[str, Any]]:
    return [{"n": n, "text": f"number {n}", "input_ids": [n] * (n % 4)} for n in range(start, start + count)]


def iter_records() -> Iterator[dict[str, Any]]:
    yield from make_records()


def read_lines(folder: Path, suffix: str = ".jsonl", *, bad: bool = True) -> Read:
    """Two files with a corrupt line in the first."""
    save_jsonl(make_records(0, 5), folder / f"a{suffix}")
    save_jsonl(make_records(5, RECORDS - 5), folder / f"b{suffix}")
    if bad and suffix == ".jsonl":
        lines = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "a.jsonl").write_bytes(b"".join([*lines[:2], b"{corrupt\n", *lines[2:]]))
    return Read(path=str(folder / f"*{suffix}"))


def read_archives(folder: Path) -> Read:
    """Two tar archives with a corrupt member in the first."""
    rows: list[dict[str, Any]] = [{"__key__": f"{n}", "n": b"%d" % n, "text": f"number {n}"} for n in range(RECORDS)]
    rows[2]["json"] = None
    save_records(rows[:5], folder / "a.tar", TAR)
    save_records(rows[5:], folder / "b.tar", TAR)
    raw = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(raw.replace(b"null", b"nul{"))
    return Read(path=str(folder / "*.tar"))


def write_parquet(folder: Path) -> RowFiles:
    table = pa.Table.from_pylist(make_records())
    pq.write_table(table.slice(0, 8), folder / "a.parquet", row_group_size=3)
    pq.write_table(table.slice(8), folder / "b.parquet", row_group_size=3)
    return find_row_files(folder)


def write_arrays(folder: Path) -> Read:
    """Two archives of arrays, one of them packed."""
    for name, save, records in (("a", np.savez, make_records(0, 5)), ("b", np.savez_compressed, make_records(5, 8))):
        columns = {column: np.array([record[column] for record in records]) for column in ("n", "text")}
        save(folder / f"{name}.npz", **columns)  # type: ignore[arg-type]  # of an option, were a column named as it
    return Read(path=str(folder / "*.npz"))


def write_pages(folder: Path) -> Read:
    """Pages of HTML, one of them none, and an empty file."""
    for number, content in enumerate((b"<title>Mill</title><h1>It</h1>turns", bytes(9), b"", *[b"<p>a"] * 4)):
        (folder / f"{number}.html").write_bytes(content)
    return Read(path=str(folder / "*.html"))


def write_documents(folder: Path) -> Read:
    """PDFs, one with a page that is corrupt, one none at all."""
    for name, content in (("a", make_pdf([f"{n}" for n in range(5)], bad=[2])), ("b", b"none"), ("c", make_pdf("56"))):
        (folder / f"{name}.pdf").write_bytes(content)
    return Read(path=str(folder / "*.pdf"))


def write_images(folder: Path) -> Read:
    """Image files, one of them empty."""
    for number in range(7):
        (folder / f"{number}.png").write_bytes(b"" if number == 2 else b"%d" % number)
    return Read(path=str(folder / "*.png"))


def write_table(folder: Path) -> SQL:
    """A table of a database, in the order of its key."""
    with closing(sqlite3.connect(folder / "rows.db")) as connection, connection:
        connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO rows VALUES (:n, :text)", make_records())
    return SQL(sql="SELECT n, text FROM rows", connect=f"sqlite:///{folder}/rows.db", key=("n",), splits=(6,), batch=4)


def write_lines(folder: Path) -> RowFiles:
    read_lines(folder)
    return find_row_files(folder)


def write_quarantine(folder: Path) -> Replay:
    """Records that failed, with a corrupt line between them."""
    kept = folder / "failed" / "kept.jsonl"
    nodes = (Map(fn=fail_always), Catch(to=str(kept)))
    assert list(iterate(read_lines(folder), nodes)) == []
    return Replay(kept)


def rows(start: int = 0, count: int = RECORDS) -> ObjectSource:
    return ObjectSource(make_records(start, count))


def flows(*sizes: int) -> list[Flow]:
    """Streams of these lengths, the second of which fails at a record and shuffles."""
    made = []
    for number, size in enumerate(sizes):
        nodes: tuple[Node, ...] = (Map(fn=fail_on_sevens), Shuffle(seed=number, buffer=3)) if number == 1 else ()
        made.append(Flow(FromIterable(iterable=make_records(number * 10, size)), nodes))
    return made


def row_flows(*sizes: int) -> list[Flow]:
    return [Flow(rows(number * 10, size), (Map(fn=add_one),)) for number, size in enumerate(sizes)]


SOURCES: dict[str, tuple[type, MakeSource]] = {
    "list": (FromIterable, lambda folder: FromIterable(iterable=make_records())),
    "function": (FromIterable, lambda folder: FromIterable(iterable=iter_records)),
    "jsonl": (Read, read_lines),
    "jsonl.gz": (Read, lambda folder: read_lines(folder, ".jsonl.gz")),
    "html": (Read, write_pages),
    "image": (Read, write_images),
    "npz": (Read, write_arrays),
    "pdf": (Read, write_documents),
    "sql": (SQL, write_table),
    "tar": (Read, read_archives),
    "replay": (Replay, write_quarantine),
    "rows of jsonl": (RowFiles, write_lines),
    "rows of parquet": (RowFiles, write_parquet),
    "rows of a list": (ObjectSource, lambda folder: rows()),
    "a view": (RowView, lambda folder: RowView(rows(), full_index(RECORDS).cut(slice(None, None, -2)))),
    "concat": (Concat, lambda folder: Concat(flows(3, 4, 2))),
    "zip": (Zip, lambda folder: Zip(flows(5, 6))),
    "zip strict": (Zip, lambda folder: Zip(flows(5, 6), strict=True)),
    "interleave": (Interleave, lambda folder: Interleave(flows(2, 5, 3))),
    "interleave blocks": (Interleave, lambda folder: Interleave(flows(2, 5, 3), block=2)),
    "mix": (Mix, lambda folder: Mix(flows(4, 5), weights=None, seed=3, stop="first")),
    "mix all": (Mix, lambda folder: Mix(flows(2, 5, 3), weights=(1, 2, 1), seed=1, stop="all")),
    "mix longest": (Mix, lambda folder: Mix(flows(2, 5, 0), weights=(3, 1, 1), seed=2, stop="longest")),
    "concat of rows": (ConcatRows, lambda folder: ConcatRows(row_flows(4, 0, 5))),
    "zip of rows": (ZipRows, lambda folder: ZipRows(row_flows(4, 6))),
}


def add_one(record: Any) -> Any:
    return {**record, "n": record["n"] + 1}


def fail_on_sevens(record: Any) -> Any:
    if number_of(record) % 7 == 3:
        raise ValueError(f"{number_of(record)} is a seventh")
    return record


async def fail_later_on_sevens(record: Any) -> Any:
    return fail_on_sevens(record)


def number_of(record: Any) -> int:
    """A number that follows from a record of any form that the steps make of it."""
    if isinstance(record, dict):
        return number_of(record.get("n", record.get("id", 0)))
    if isinstance(record, (list, tuple)):
        return sum(map(number_of, record)) + len(record)
    return int(record)


def fail_always(record: Any) -> Any:
    raise ValueError("no record is good enough")


def is_odd(record: Any) -> bool:
    return number_of(record) % 2 == 1


def is_never_enough() -> bool:
    return False


def repeat_some(record: Any) -> list[Any]:
    return [record] * (number_of(record) % 3)


def repeat_lazily(record: Any) -> Iterator[Any]:
    for child in range(number_of(record) % 4):
        if child == 2:
            raise ValueError("no child 2")
        yield record


def find_third(record: Any) -> int:
    return number_of(record) // 3


def spell_third(record: Any) -> str:
    """A text nearly equal to those of the same third."""
    return " ".join([*(f"{find_third(record)}-{place}" for place in range(20)), str(number_of(record))])


def to_tokens(text: str) -> list[int]:
    return list(text.encode())


KEPT = TemporaryDirectory(prefix="tidemill-kept-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
"""The folder of every step that keeps something on disk: all of them, over every source, may have one."""

OTHER: Any = Other(FromIterable(iterable=[*make_records(2, 3), *make_records(0, 6)]), (Map(fn=add_one),))

STEPS: list[Node] = [
    Map(fn=add_one),
    Map(fn=fail_on_sevens),
    Map(fn=fail_on_sevens, on_error="skip"),
    Map(fn=fail_on_sevens, concurrency=3, on="threads"),
    Map(fn=fail_later_on_sevens, concurrency=2, on_error="skip"),
    Filter(fn=is_odd),
    FlatMap(fn=repeat_some),
    FlatMap(fn=repeat_lazily),
    WithColumns(columns={"odd": is_odd}),
    Select(columns=("n", "input_ids")),
    Rename(columns={"n": "id"}),
    Drop(columns=("text",)),
    Observe(fn=number_of),
    Split(ratios=(2.0, 1.0), share=0, by="n"),
    Unbatch(),
    Tokenize(tokenizer=to_tokens),
    Chunk(by="words", max_chars=5),
    DecodeImage(column="text", concurrency=2),
    Catch(),
    Take(count=5),
    Until(fn=is_never_enough),
    Skip(count=4),
    Every(count=3, offset=1),
    Sample(ratio=0.6, seed=2),
    Shard(rank=1, world=3),
    Shard(rank=2, world=4, even="pad"),
    Shard(rank=0, world=4, even="drop"),
    Batch(size=3),
    Batch(size=4, form="columns", drop_last=True),
    Batch(size_bytes=90),
    Batch(tokens=6),
    Sliding(size=3, step=2),
    Pack(max_tokens=5),
    Pack(max_tokens=4, how="concat_and_split"),
    Shuffle(seed=1, buffer=4),
    Repeat(epochs=2),
    Prefetch(count=3),
    Dedupe(key=find_third, dir=KEPT.name),
    Dedupe(key=spell_third, near=0.8, dir=KEPT.name),
    Sort(key="n", reverse=True, dir=KEPT.name, memory=600, on_error="skip"),
    Join(other=OTHER, on="n", how="left", suffix="_other", dir=KEPT.name, memory=500),
    GroupBy(keys="text", agg={"n": ("last", "n"), "most": ("max", "n"), "count": "count"}, dir=KEPT.name, memory=2000),
    Cache(dir=KEPT.name, changed="rebuild", part_bytes=300),
]
"""For any source; errors that a record's form makes are outcomes like others."""

ROW_STEPS: list[Node] = [
    Slice(start=2, stop=-2),
    Slice(step=-2),
    Pick(places=(1, 0, 0, -1)),
    Shuffle(seed=4, buffer=None),
]
"""For sources whose records have numbers."""


@contextmanager
def open_source(name: str, folder: Path) -> Iterator[Source]:
    """An example; the few files that a dataset keeps open are closed with it."""
    source = SOURCES[name][1](folder)
    yield source
    if isinstance(source, RowSource):
        source.rows.release()


def steps_for(source: Source) -> list[Node]:
    """The steps that may stand behind it."""
    return [*STEPS, *ROW_STEPS] if isinstance(source, RowSource) else STEPS
