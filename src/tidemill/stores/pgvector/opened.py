"""`OpenedPgVector`: a table of vectors in use, by a pool of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from psycopg.types import TypeInfo
from psycopg_pool import AsyncConnectionPool

from tidemill.calls.credentials import label_endpoint, register_credentials
from tidemill.protocols import Match
from tidemill.stores.batch import Batch
from tidemill.stores.filters import Comparison
from tidemill.stores.lifetime import finish
from tidemill.stores.opened import LOOP_RECORDS, OpenedStore
from tidemill.stores.pgvector.conditions import render_conditions
from tidemill.stores.pgvector.failures import mapped_errors
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.pgvector.statements import Statements
from tidemill.stores.pgvector.table import Connection, Table
from tidemill.stores.pgvector.values import HEADER, TRAILER, Vector, iter_rows, register_vectors, render_vectors
from tidemill.stores.vectors import Matrix

BULK_ROWS: Final = 500
"""Records from which on they go by COPY (`benchmarks/stores_pgvector.py`)."""
MAX_EF_SEARCH: Final = 1_000
"""Of `hnsw.ef_search` (pgvector, README)."""
QUERIES: Final = 64
"""Queries of a search that go in one statement."""
_HALT_S: Final = 5.0
"""How long a server may take to hear that a COPY is given up: as long as psycopg waits for a statement to end."""


class _Asked(NamedTuple):
    """What a search asks, whatever for: `given` is for the marks behind the vector's; `is_plain` without a filter."""

    condition: sql.Composable
    given: list[Any]
    k: int
    with_vectors: bool
    is_plain: bool


class PooledConnection(psycopg.AsyncConnection[Any]):
    """A connection of the pool; `used_at_s` is when it was given back, by the loop's time."""

    used_at_s = float("-inf")


class OpenedPgVector(OpenedStore):
    """A table of vectors. See `OpenedStore`; belongs to one loop."""

    settings: PgVector

    def __init__(self, settings: PgVector) -> None:
        self._url = settings.url.get_secret_value()
        register_credentials({}, self._url)
        super().__init__(settings, f"{label_endpoint(self._url) or 'PostgreSQL'} table `{settings.table}`")
        self._statements = Statements(settings)
        self._table = Table(settings, self._statements, self.name)
        connect_s = max(2, round(settings.pool.connect_s))
        self._connecting: Final[dict[str, Any]] = {
            "autocommit": True,
            "connect_timeout": connect_s,
            "fallback_application_name": "tidemill",
        }
        self._pool: AsyncConnectionPool[PooledConnection] | None = None
        self._in_use = 0
        self._type: TypeInfo
        self._rendered: dict[tuple[bool, bool], bytes] = {}

    async def _open(self) -> None:
        pool = self.settings.pool
        # What is wrong is told at once, where the pool would try until its time is over.
        async with self._connection_of_its_own() as connection:
            self._type = await self._table.prepare(connection)
        with mapped_errors(self.name, lambda: False):
            self._pool = AsyncConnectionPool(
                self._url,
                connection_class=PooledConnection,
                kwargs=self._connecting,
                min_size=pool.min_size,
                max_size=pool.max_size,
                open=False,
                configure=self._configure,
                check=self._check,
                reset=_reset,
                timeout=pool.wait_s,
                max_idle=pool.idle_s,
                max_lifetime=pool.lifetime_s,
                reconnect_timeout=pool.wait_s,
                name=self.name,
            )
            await self._pool.open(wait=True, timeout=max(pool.connect_s, pool.wait_s))

    async def _close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def _put(self, batch: Batch) -> None:
        # In one order, or two that have records in common might wait for each other.
        order = sorted(range(len(batch.ids)), key=batch.ids.__getitem__)
        async with self._connection() as connection:
            if len(order) >= BULK_ROWS:
                await self._load(connection, batch, order)
                return
            ids = [batch.ids[number] for number in order]
            payloads = [batch.payloads[number].decode() for number in order]
            vectors = render_vectors(batch.vectors[order])
            await connection.execute(self._statements.upsert(), [ids, vectors, payloads])

    async def _load(self, connection: Connection, batch: Batch, order: Sequence[int]) -> None:
        """Copy a batch: straight into the table where all its ids are new, else by way of a table for staging."""
        if not await self._holds_any(connection, [batch.ids[number] for number in order]):
            try:
                async with connection.transaction():
                    await self._copy(connection, batch, order, is_staged=False)
                return
            except psycopg.errors.UniqueViolation:
                pass  # somebody else has put one of them there since
        async with connection.transaction():
            await connection.execute(self._statements.create_staging())
            await self._copy(connection, batch, order, is_staged=True)
            await connection.execute(self._statements.insert_staged())

    async def _holds_any(self, connection: Connection, ids: list[str]) -> bool:
        """Whether one of the ids, which are in order, is there."""
        cursor = await connection.execute(self._statements.find_next(), [ids[0]])
        found = await cursor.fetchone()
        if found is None or found[0] > ids[-1]:  # as when ids count what they are of: there is none between them
            return False
        cursor = await connection.execute(self._statements.find_any(), [ids])
        found = await cursor.fetchone()
        return bool(found and found[0])

    async def _copy(self, connection: Connection, batch: Batch, order: Sequence[int], *, is_staged: bool) -> None:
        """Send the rows of a batch.

        Cancelling has the server told so between two slices of them: in the middle of one the connection would be lost.
        """
        halt = asyncio.Event()
        statement = self._statements.copy(is_staged=is_staged)
        writing = asyncio.ensure_future(_write(connection, statement, iter_rows(batch, order), halt))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            halt.set()
            await finish(_end(writing))
            raise

    async def _search(
        self, queries: Matrix, k: int, comparisons: Sequence[Comparison], with_vectors: bool
    ) -> list[list[Match]]:
        condition, given = render_conditions(comparisons)
        asked = _Asked(condition, [*given, k], k, with_vectors, is_plain=not comparisons)
        found: list[list[Match]] = []
        async with self._connection() as connection:
            for start in range(0, len(queries), QUERIES):
                found += await self._ask(connection, asked, render_vectors(queries[start : start + QUERIES]))
        return found

    async def _ask(self, connection: Connection, asked: _Asked, vectors: list[Vector]) -> list[list[Match]]:
        """The records nearest to each vector; those that an index gave too few of are asked for without it."""
        k = asked.k
        if k <= self.settings.index.ef_search:
            found = await self._read(connection, asked, vectors)
        else:
            async with connection.transaction():
                await connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(min(k, MAX_EF_SEARCH))])
                found = await self._read(connection, asked, vectors)
        few = [number for number, matches in enumerate(found) if len(matches) < k]
        # An index gives the records nearest to the vector; what a filter, or a deletion, leaves of them may be too few.
        if few and await self._table.is_indexed(connection):
            async with connection.transaction():
                await connection.execute("SET LOCAL enable_indexscan = off")
                exact = await self._read(connection, asked, [vectors[number] for number in few], is_planned=False)
            for number, matches in zip(few, exact, strict=True):
                found[number] = matches
        return found

    async def _read(
        self, connection: Connection, asked: _Asked, vectors: list[Vector], *, is_planned: bool = True
    ) -> list[list[Match]]:
        """The records that a statement gives for each vector, by a plan that the server may have from before."""
        found: list[list[Match]] = [[] for _ in vectors]
        offset = 1.0 if self.settings.metric == "cosine" else 0.0
        is_one = len(vectors) == 1
        given = [vectors[0] if is_one else vectors, *asked.given]
        statement, prepare = self._render(asked, is_one=is_one), None if is_planned else False
        cursor = await connection.execute(statement, given, prepare=prepare, binary=True)
        async for number, key, distance, payload, vector in _iter_rows(cursor):
            found[number].append(Match(key, offset - distance, payload, vector))
        return found

    def _render(self, asked: _Asked, *, is_one: bool) -> bytes:
        """The statement of a search; of one without a filter as it was rendered before, which takes a while."""
        known = (is_one, asked.with_vectors)
        rendered = self._rendered.get(known) if asked.is_plain else None
        if rendered is None:
            render = self._statements.search if is_one else self._statements.search_many
            rendered = render(asked.condition, with_vectors=asked.with_vectors).as_bytes()
            if asked.is_plain:
                self._rendered[known] = rendered
        return rendered

    async def _fetch(self, ids: list[str], with_vectors: bool) -> dict[str, Match]:
        found: dict[str, Match] = {}
        statement = self._statements.fetch(with_vectors=with_vectors)
        async with self._connection() as connection:
            cursor = await connection.execute(statement, [_keep_possible(ids)], binary=True)
            async for key, payload, vector in _iter_rows(cursor):
                found[key] = Match(key, 1.0, payload, vector)
        return found

    async def _delete(self, ids: list[str]) -> int:
        async with self._connection() as connection:
            cursor = await connection.execute(self._statements.delete(), [_keep_possible(ids)])
            return int(cursor.rowcount)

    async def _count(self, comparisons: Sequence[Comparison]) -> int:
        condition, given = render_conditions(comparisons)
        async with self._connection() as connection:
            cursor = await connection.execute(self._statements.count(condition), given)
            found = await cursor.fetchone()
            return int(found[0]) if found else 0

    async def _flush(self) -> None:
        async with self._connection_of_its_own() as connection:
            await self._table.index(connection)

    def _refuse(self, key: str, payload: bytes) -> str:
        if "\0" in key:
            return "the id has NUL, which no text of PostgreSQL has"
        if b"\\u0000" in payload and _has_nul(payload):
            return "the payload has NUL in a text, which no text of PostgreSQL has"
        return ""

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool for the length of a `with`, whatever ends it; the driver's errors are mapped."""
        assert self._pool is not None  # it is open, as `OpenedStore` sees to
        connection: PooledConnection | None = None
        # Where somebody has a connection of the pool, whoever gets none waits for that one, and not for the server.
        with mapped_errors(self.name, lambda: connection is not None or self._in_use > 0):
            async with self._pool.connection() as connection:
                self._in_use += 1
                try:
                    yield connection
                finally:
                    self._in_use -= 1

    @asynccontextmanager
    async def _connection_of_its_own(self) -> AsyncIterator[Connection]:
        """A connection beside the pool's, with what is set and locked by it for the length of a `with`."""
        connection: Connection | None = None
        with mapped_errors(self.name, lambda: connection is not None):
            connection = await psycopg.AsyncConnection.connect(self._url, **self._connecting)
            try:
                yield connection
            finally:
                await connection.close()

    async def _configure(self, connection: PooledConnection) -> None:
        """Set a new connection up."""
        register_vectors(self._type, connection)
        timeout = f"{max(1, round(self.settings.timeout_s * 1000))}ms"
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('hnsw.ef_search', %s, false)",
            [timeout, str(self.settings.index.ef_search)],
        )

    async def _check(self, connection: PooledConnection) -> None:
        """Ask a connection that was left alone for a while whether it works, so that one that does not is replaced."""
        if asyncio.get_running_loop().time() - connection.used_at_s > self.settings.pool.check_s:
            await connection.execute("")


class _HaltedError(Exception):
    """Has a COPY given up."""


async def _write(connection: Connection, statement: sql.Composed, rows: Iterable[bytes], halt: asyncio.Event) -> None:
    """Send rows by COPY, until there are no more or `halt` is set."""
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(HEADER)
        for each in rows:
            await copy.write(each)
            await asyncio.sleep(0)  # writing does not wait while the system takes it
            if halt.is_set():
                raise _HaltedError
        await copy.write(TRAILER)


async def _end(writing: asyncio.Future[None]) -> None:
    """Wait until the writing has ended, whatever of; not for ever, should the server take nothing more."""
    done, _ = await asyncio.wait([writing], timeout=_HALT_S)
    if not done:
        writing.cancel()
        await asyncio.wait([writing])
    if not writing.cancelled():
        writing.exception()  # looked at: cancelling is what is told


async def _reset(connection: PooledConnection) -> None:
    """Note when a connection is given back. With this the pool does so in a task of its own, which nobody cancels."""
    connection.used_at_s = asyncio.get_running_loop().time()


async def _iter_rows(cursor: psycopg.AsyncCursor[Any]) -> AsyncIterator[tuple[Any, ...]]:
    """The rows of a result that has come; the loop goes on between some and the next ones, which are made of it."""
    for start in range(0, cursor.rowcount, LOOP_RECORDS):
        if start:
            await asyncio.sleep(0)
        for row in await cursor.fetchmany(LOOP_RECORDS):
            yield row


def _keep_possible(ids: Sequence[str]) -> list[str]:
    """Those that a record here may have."""
    return [key for key in ids if "\0" not in key]


def _has_nul(payload: bytes) -> bool:
    r"""Whether a text in a payload has NUL: `\u0000` may also stand behind a backslash, and mean what it says."""
    return b"\\u0000" in payload.replace(b"\\\\", b"")
