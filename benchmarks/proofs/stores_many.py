"""A hundred thousand records in Qdrant's local mode, by its server's API, and in pgvector through its index.

    python benchmarks/proofs/stores_many.py

It is the check of the stores' contract that `make check` makes with fewer of them: put in, counted, indexed, found, the
loop turning all the while. Each search of Qdrant's local mode compares all records, in Python where there is a filter,
and the server of the tests (`tests/stores/qdrantserver.py`) asks it; a graph over as many takes half a minute. Two to
three minutes. Fails where the check does, or where pgvector has searched without its index.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tidemill.stores.pgvector.settings import Hnsw, PgVector
from tidemill.stores.qdrant.settings import MEMORY, Qdrant
from tidemill.stores.store import Store
from tidemill.testing.stores import STORE_CHECKS, StoreSubject

QDRANT_SERVER = Path(__file__).parents[2] / "tests" / "stores" / "qdrantserver.py"
GRAPH = Hnsw(min_rows=1, ef_search=400)
"""Of vectors that are random in all directions, the hardest there are; with 200 some 95 % of what a filter leaves."""


@contextmanager
def serve_qdrant() -> Iterator[str]:
    """The address of the tests' server."""
    with subprocess.Popen(
        [sys.executable, str(QDRANT_SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


@contextmanager
def serve_postgres() -> Iterator[str]:
    """The address of a PostgreSQL server with pgvector."""
    with (
        tempfile.TemporaryDirectory(prefix="tidemill-") as folder,
        tempfile.TemporaryDirectory(prefix="tidemill-") as runtime,
    ):
        os.environ.setdefault("XDG_RUNTIME_DIR", runtime)  # read by platformdirs, once pgserver is imported
        import pgserver

        server = pgserver.get_server(folder)  # type: ignore[attr-defined]
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def check_many(name: str, make: Callable[..., Store]) -> None:
    """Make the check of a store, and tell what it took."""
    subject = StoreSubject(make, orders_texts=False)
    started, cpu = time.perf_counter(), time.process_time()
    asyncio.run(_check(subject))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(f"{subject.many:,} records in {name}: {took:.1f} s, {cpu:.1f} s of this process's CPU", flush=True)


async def _check(subject: StoreSubject) -> None:
    await STORE_CHECKS["many_do_not_stall_the_loop"](subject)


def main() -> None:
    check_many("Qdrant's local mode", lambda **settings: Qdrant(path=Path(MEMORY), **settings))
    with serve_qdrant() as address:
        check_many("Qdrant by its server's API", lambda **settings: Qdrant(url=address, **settings))
    with serve_postgres() as address:

        def make(**settings: Any) -> PgVector:
            return PgVector(url=address, index=GRAPH, **settings)

        check_many("pgvector, through its index", make)
        with psycopg.connect(address) as connection:
            found = connection.execute("SELECT 1 FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'").fetchall()
            assert len(found) == 1, "no index was built"


if __name__ == "__main__":
    main()
