"""A table of vectors: made where there is none, checked where there is one, indexed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.types import TypeInfo

from tidemill.errors import ResourceError, StateError
from tidemill.stores.pgvector.conditions import TYPES, name_column
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.pgvector.statements import DISTANCES, INDEX_PREFIX, Statements

Connection = AsyncConnection[Any]

MAX_INDEXED: Final = 2_000
"""Dimensions of a vector that an HNSW index takes (pgvector, README, Limits)."""
_OPENING, _INDEXING = 0x7469_6465_0001, 0x7469_6465_0002
"""Whoever makes a table, and whoever builds an index, has the lock of this number in the database meanwhile."""
_PAUSES_S: Final = (0.05, 2.0)
"""How often it is looked whether that lock is free: the first pause, which doubles, and the longest."""
_COMMENT = re.compile(r"vectors of Tidemill, metric (\w+)")
_NO_EXTENSION: Final = ("0A000", "58P01", "42704")
"""The SQLSTATE of a server without the extension's files."""


class Table:
    """The table of some settings, seen from one connection."""

    def __init__(self, settings: PgVector, statements: Statements, where: str) -> None:
        self._settings = settings
        self._statements = statements
        self._where = where

    async def prepare(self, connection: Connection) -> TypeInfo:
        """The type of its vectors; extension, table and fields' columns are there then.

        Openers go one after another, so that the second finds what the first has made.

        Raises:
            StateError: the table is of other vectors, or of another metric; or is none for vectors.
            ResourceError: the extension is not there, and cannot be made.
        """
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_OPENING])
            info = await self._find_type(connection)
            columns = await self._read_columns(connection)
            if columns is None:
                await connection.execute(self._statements.create_table())
                await connection.execute(
                    self._statements.comment(f"vectors of Tidemill, metric {self._settings.metric}")
                )
            else:
                await self._check(connection, columns)
                await self._add_fields(connection, columns)
        return info

    async def index(self, connection: Connection) -> None:
        """Build the indexes that are not there; that of the vectors once there are enough of them.

        The table takes upserts meanwhile. Settings and lock stay with the connection, which is for nothing else.
        """
        # Whoever waited for the lock within a statement would be waited for by the build, as having begun before it.
        for pause_s in _iter_pauses():
            if await _ask(connection, "SELECT pg_try_advisory_lock(%s)", _INDEXING):
                break
            await asyncio.sleep(pause_s)
        memory = f"{self._settings.index.build_memory >> 10}kB"
        await connection.execute(
            "SELECT set_config('statement_timeout', '0', false), set_config('maintenance_work_mem', %s, false)",
            [memory],
        )
        for schema, name in await self._list_broken(connection):
            await connection.execute(self._statements.drop_index(schema, name))
        for name in self._settings.fields:
            statement = self._statements.index_field(name)
            if statement is not None:
                await connection.execute(statement)
        if await self._wants_index(connection):
            await connection.execute(self._statements.index_vectors())
        await connection.execute(self._statements.analyze())

    async def _list_broken(self, connection: Connection) -> list[tuple[str, str]]:
        """Schema and name of each index whose building was broken off: upserts alone use it."""
        cursor = await connection.execute(
            "SELECT nspname, relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE indrelid = to_regclass(%s) AND NOT indisvalid AND starts_with(relname, %s)",
            [self._name(connection), INDEX_PREFIX],
        )
        return await cursor.fetchall()

    async def is_indexed(self, connection: Connection) -> bool:
        """Whether a search may look at some records only."""
        return bool(
            await _ask(
                connection,
                "SELECT 1 FROM pg_index JOIN pg_opclass ON pg_opclass.oid = indclass[0] "
                "WHERE indrelid = to_regclass(%s) AND indisvalid AND opcname = %s LIMIT 1",
                self._name(connection),
                DISTANCES[self._settings.metric][1].as_string(connection),
            )
        )

    async def _wants_index(self, connection: Connection) -> bool:
        least = self._settings.index.min_rows
        if self._settings.dimensions > MAX_INDEXED or await self.is_indexed(connection):
            return False
        cursor = await connection.execute(self._statements.has_rows(), [least, least])
        found = await cursor.fetchone()
        return bool(found and found[0])

    async def _find_type(self, connection: Connection) -> TypeInfo:
        info = await TypeInfo.fetch(connection, "vector")
        if info is not None:
            return info
        hint = "have a superuser run `CREATE EXTENSION vector` in the database"
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.Error as error:
            if error.sqlstate in _NO_EXTENSION:
                hint = "install pgvector on the server (github.com/pgvector/pgvector)"
            elif not isinstance(error, psycopg.errors.InsufficientPrivilege):
                raise
            said = error.diag.message_primary
            raise ResourceError(f"the extension pgvector is not there: {said}", where=self._where, hint=hint) from None
        info = await TypeInfo.fetch(connection, "vector")
        if info is None:
            hint = "add the schema of the extension to the role's `search_path`"
            raise ResourceError(
                "the type `vector` is not found, though the extension is there", where=self._where, hint=hint
            )
        return info

    async def _read_columns(self, connection: Connection) -> Mapping[str, str] | None:
        """The columns of the table and their types; None where there is no table."""
        name = self._name(connection)
        if not await _ask(connection, "SELECT to_regclass(%s)::oid", name):
            return None
        cursor = await connection.execute(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [name],
        )
        return dict(await cursor.fetchall())

    async def _check(self, connection: Connection, columns: Mapping[str, str]) -> None:
        """Check that the table is as the settings say."""
        expected = {"id": "text", "embedding": f"vector({self._settings.dimensions})", "payload": "jsonb"}
        held = columns.get("embedding", "")
        if (match := re.fullmatch(r"vector\((\d+)\)", held)) and held != expected["embedding"]:
            raise self._error(
                f"the table holds vectors of {match[1]} numbers, and the settings say {self._settings.dimensions}",
                f"set `dimensions: {match[1]}`, or name another `table`",
            )
        for name, type_ in expected.items():
            if columns.get(name) != type_:
                got = f"`{columns[name]}`" if name in columns else "none"
                message = f"the table is none of Tidemill's: expected a column `{name}` of `{type_}`, got {got}"
                raise self._error(message, "name another `table`")
        if not await self._has_key(connection):
            message = "the table is none of Tidemill's: its column `id` is no key, so that an id could be there twice"
            raise self._error(message, "make it one: `ALTER TABLE … ADD PRIMARY KEY (id)`")
        comment = await _ask(connection, "SELECT obj_description(to_regclass(%s), 'pg_class')", self._name(connection))
        match = _COMMENT.fullmatch(comment or "")
        if match and match[1] != self._settings.metric:
            raise self._error(
                f"the table is searched by `{match[1]}`, and the settings say `{self._settings.metric}`",
                f"set `metric: {match[1]}`, or name another `table`",
            )

    async def _has_key(self, connection: Connection) -> bool:
        return bool(
            await _ask(
                connection,
                "SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
                "WHERE indrelid = to_regclass(%s) AND indisunique AND indisvalid AND indpred IS NULL "
                "AND indnkeyatts = 1 AND attname = 'id' LIMIT 1",
                self._name(connection),
            )
        )

    async def _add_fields(self, connection: Connection, columns: Mapping[str, str]) -> None:
        """Add the columns of fields that the table does not have yet, with the values that its payloads have."""
        for name, kind in self._settings.fields.items():
            held = columns.get(name_column(name))
            if held is None:
                try:
                    await connection.execute(self._statements.add_field(name))
                except (psycopg.DataError, psycopg.errors.InternalError) as error:
                    said = error.diag.message_primary
                    message = f"the field `{name}` is not of `{kind}` in every payload that is there: {said}"
                    raise self._error(message, "declare it as what it is, or name another `table`") from None
            elif held != TYPES[kind]:
                there = next((kind for kind, type_ in TYPES.items() if type_ == held), held)
                message = f"the field `{name}` is of `{there}` in the table, and the settings say `{kind}`"
                raise self._error(message, "declare it as what it is, or name another `table`")

    def _name(self, connection: Connection) -> str:
        """The table's name as SQL has it, for what looks one up."""
        return self._statements.table.as_string(connection)

    def _error(self, message: str, hint: str) -> StateError:
        return StateError(message, where=self._where, hint=hint)


def _iter_pauses() -> Iterator[float]:
    """How long to wait before it is looked again whether somebody else's build has ended."""
    pause_s, longest_s = _PAUSES_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, longest_s)


async def _ask(connection: Connection, query: str, *given: Any) -> Any:
    """The one value that a query gives; None for none."""
    cursor = await connection.execute(query, given)
    found = await cursor.fetchone()
    return found[0] if found else None
