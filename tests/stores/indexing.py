"""A job in a process of its own that is killed in the middle of its upserts: `python indexing.py FOLDER UPSERTS`.

Once so many upserts have landed it is killed before it can seal any of them; 0 lets it end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tidemill as tm
from tidemill.calls.limits import Limits
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.protocols import Upserted, Vectors
from tidemill.stores.lance.opened import LanceStore
from tidemill.stores.lance.settings import LanceDB

RECORDS = 400
DIMENSIONS = 4


class Dying(LanceDB):
    """LanceDB, until so many upserts have landed."""

    left: ClassVar[int] = 0

    def open(self) -> LanceStore:
        return DyingStore(self)


class DyingStore(LanceStore):
    async def upsert(
        self, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]] | None = None
    ) -> Sequence[Upserted]:
        outcomes = await super().upsert(ids, vectors, payloads)
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes


def iter_records() -> Iterator[dict[str, Any]]:
    """Some ids come twice: the second has the greater number."""
    for number in range(RECORDS):
        key = f"document {number - 150 if 200 <= number < 210 else number}"
        yield {"id": key, "number": number, "embedding": [1.0, number / RECORDS, 0.5, -1.0]}


def make_settings(folder: Path) -> Dying:
    return Dying(path=folder / "index", dimensions=DIMENSIONS)


def index(folder: Path) -> None:
    """Put the records of `records.jsonl` into the store, sealed every 64."""
    stream = tm.read(str(folder / "records.jsonl")).index(
        make_settings(folder), batch_size=16, limits=Limits.model_validate({"concurrency": 3})
    )
    stream.write(folder / "out", segment=SegmentLimits(records=64), progress=False)


if __name__ == "__main__":
    place, upserts = Path(sys.argv[1]), int(sys.argv[2])
    source = place / "records.jsonl"
    if not source.exists():
        source.write_text("".join(json.dumps(record) + "\n" for record in iter_records()))
    Dying.left = upserts
    index(place)
