"""A hundred thousand records in Qdrant's local mode: put in, counted, found; the loop turns all the while.

    python benchmarks/proofs/qdrant_local.py

It is the check of the stores' contract that `make check` makes with fewer records, since each search of the local mode
compares all of them. About a minute. Fails where the check does.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tidemill.stores.qdrant.settings import MEMORY, Qdrant
from tidemill.testing.stores import STORE_CHECKS, StoreSubject


def make(**settings: Any) -> Qdrant:
    return Qdrant(path=Path(MEMORY), **settings)


async def check(subject: StoreSubject) -> None:
    await STORE_CHECKS["many_do_not_stall_the_loop"](subject)


def main() -> None:
    subject = StoreSubject(make, orders_texts=False)
    started, cpu = time.perf_counter(), time.process_time()
    asyncio.run(check(subject))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"{subject.many:,} records in Qdrant's local mode: {took:.1f} s, {cpu:.1f} s of CPU")


if __name__ == "__main__":
    main()
