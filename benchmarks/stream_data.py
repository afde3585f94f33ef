"""The files of the stream benchmarks: about 470 bytes of JSON a record, the same records as Parquet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from workload import WORK

FOLDER = WORK / "streams"
ROW_GROUP = 50_000

Record = dict[str, Any]


def iter_records(count: int) -> Iterator[Record]:
    """Records of random words, as the field's data has them: a number, a text, a label, something nested."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5_000)]
    for number in range(count):
        text = " ".join(rng.choices(words, k=60))
        meta = {"src": "web", "score": rng.random()}
        yield {"id": number, "text": text, "label": rng.randint(0, 1), "meta": meta}


def make_jsonl(count: int) -> Path:
    """So many records as JSON Lines; made once."""
    path = FOLDER / f"{count}.jsonl"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".part"), "w") as file:
            file.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in iter_records(count))
        path.with_suffix(".part").rename(path)
    return path


def make_parquet(count: int) -> Path:
    """So many records as Parquet, in row groups of 50,000; made once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = FOLDER / f"{count}.parquet"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        records = iter_records(count)
        first = pa.Table.from_pylist(list(islice(records, ROW_GROUP)))
        with pq.ParquetWriter(path.with_suffix(".part"), first.schema) as writer:
            writer.write_table(first)
            while group := list(islice(records, ROW_GROUP)):
                writer.write_table(pa.Table.from_pylist(group))
        path.with_suffix(".part").rename(path)
    return path


def make_large(size_bytes: int) -> Path:
    """JSON Lines of at least so many bytes: the same records over and over."""
    path = FOLDER / f"large-{size_bytes}.jsonl"
    if not path.exists() or path.stat().st_size < size_bytes:
        content = make_jsonl(50_000).read_bytes()
        with open(path, "wb") as file:
            while file.tell() < size_bytes:
                file.write(content)
    return path
