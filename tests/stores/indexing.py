"""Jobs that are killed in the midst of a store's step, each a process of its own.

They are forks of one that has imported everything, which takes longer than a job, and has opened nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import tidemill as tm
from tidemill.calls.limits import Limits
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.protocols import Filter, Match, Vectors
from tidemill.stores.lance.opened import LanceStore
from tidemill.stores.lance.settings import LanceDB
from tidemill.stores.store import Store
from tidemill.stores.table import AnyStore

RECORDS = 400
DIMENSIONS = 4
CONCURRENCY = 4
"""Searches at once."""
LIVES = 0
"""Records that come out of the store's step before the process is killed; 0 lets it end."""


def iter_records() -> Iterator[dict[str, Any]]:
    """One id of ten comes twice, 150 records apart: the second has the greater number."""
    for number in range(RECORDS):
        key = f"document {number - 150 if number >= 200 and number % 10 == 0 else number}"
        yield {"id": key, "number": number, "embedding": [1.0, number / RECORDS, 0.5, -1.0]}


def read_settings(described: dict[str, Any]) -> Store:
    """The settings of a store, as a file has them."""
    settings: Store = TypeAdapter(AnyStore).validate_python({**described, "dimensions": DIMENSIONS})
    return settings


class NotingLanceDB(LanceDB):
    """LanceDB that notes each search in `searches.txt` beside it."""

    def open(self) -> LanceStore:
        return NotingStore(self)


class NotingStore(LanceStore):
    async def search(
        self, vectors: Vectors, k: int, filter: Filter | None = None, *, with_vectors: bool = False
    ) -> Sequence[Sequence[Match]]:
        for vector in vectors:
            note(self.settings.path.parent, "asked", round(float(vector[1]) * RECORDS))
        return await super().search(vectors, k, filter, with_vectors=with_vectors)


def note(folder: Path, what: str, number: int) -> None:
    """Add a line to `searches.txt`, which outlives a process that is killed."""
    with (folder / "searches.txt").open("a") as file:
        file.write(f"{what} {number}\n")


def go_on(record: dict[str, Any]) -> bool:
    """True, of a record that is behind the store's step and not sealed; or the end."""
    global LIVES
    LIVES -= 1
    if LIVES == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def index(folder: Path, store: Store, limit: int | None) -> int:
    """Put the records of `records.jsonl` into the store, the first `limit` of them, sealed every 16; the exit code."""
    limits = Limits.model_validate({"concurrency": 3})
    stream = tm.read(str(folder / "records.jsonl")).index(store, batch_size=8, limits=limits).filter(go_on)
    sealed = SegmentLimits(records=16)
    return stream.write(folder / "out", limit=limit, segment=sealed, progress=False).exit_code


def search(folder: Path, store: Store, limit: int | None) -> int:
    """Search for each record of `records.jsonl`, and note those for which that is committed; the exit code."""
    asked = NotingLanceDB(path=folder / "index", dimensions=store.dimensions)

    def pass_on(record: dict[str, Any]) -> bool:
        note(folder, "told", record["number"])
        return go_on(record)

    limits = Limits.model_validate({"concurrency": CONCURRENCY})
    stream = tm.read(str(folder / "records.jsonl")).search(asked, k=1, limits=limits).drop("embedding").filter(pass_on)
    sealed = SegmentLimits(records=16)
    return stream.write(folder / "found", limit=limit, segment=sealed, progress=False).exit_code


DOES: dict[str, Callable[[Path, Store, int | None], int]] = {"index": index, "search": search}


class Jobs:
    """Starts the processes, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self, folder: Path, described: dict[str, Any], does: str, *, lives: int = 0, limit: int | None = None
    ) -> int:
        """How the process ended: its exit code, or less than 0 the signal that killed it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(folder), described, does, lives, limit]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@contextmanager
def open_jobs() -> Iterator[Jobs]:
    """What starts them, in a process of its own, which ends with the block."""
    pipe, here = subprocess.PIPE, Path(__file__)
    command = [sys.executable, "-c", f"import {here.stem}; {here.stem}.main()"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=here.parent) as process:
        yield Jobs(process)


def main() -> None:
    global LIVES
    import lance_namespace  # noqa: F401 - for the forks, as what follows; lancedb itself would start a thread
    import pandas as pd  # noqa: F401
    import psycopg_pool  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import qdrant_client  # noqa: F401

    import tidemill.jobs.running.runner
    import tidemill.stream.stream  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            folder, described, does, LIVES, limit = json.loads(line)
            os._exit(DOES[does](Path(folder), read_settings(described), limit))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
