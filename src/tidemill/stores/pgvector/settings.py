"""`PgVector`: a table of a PostgreSQL database, as a file describes it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from tidemill.config.model import Settings
from tidemill.config.roles import Runtime
from tidemill.config.types.durations import Duration
from tidemill.config.types.sizes import ByteSize
from tidemill.data.sql.connection import find_address, show_address
from tidemill.packages import check_package
from tidemill.protocols import VectorStore
from tidemill.stores.store import Store

MAX_DIMENSIONS: Final = 16_000
"""Of pgvector's type `vector`."""
MAX_NAME_BYTES: Final = 63
"""Of an identifier: PostgreSQL cuts a longer one, and may then mean another table."""
_URL = re.compile(r"postgres(ql)?://")


class Pool(Settings):
    """How many connections there are, and how long they are kept.

    Attributes:
        min_size: connections that are kept open.
        max_size: connections there are at most; whoever wants another one waits.
        connect_s: seconds that making one may take.
        wait_s: seconds that an operation may wait for one.
        check_s: seconds after which one that nobody used is asked whether it works before it is given out.
        idle_s: seconds after which one that nobody uses is closed, down to `min_size`.
        lifetime_s: seconds after which one is replaced, lest a far side that moved keeps it.
    """

    min_size: int = Field(default=1, ge=0)
    max_size: int = Field(default=8, ge=1)
    connect_s: Duration = Field(default=10.0, gt=0)
    wait_s: Duration = Field(default=30.0, gt=0)
    check_s: Duration = Field(default=1.0, ge=0)
    idle_s: Duration = Field(default=600.0, gt=0)
    lifetime_s: Duration = Field(default=3600.0, gt=0)

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.min_size > self.max_size:
            raise ValueError(f"`min_size` is {self.min_size}, more than `max_size`, {self.max_size}")
        return self


class Hnsw(Settings):
    """The index that `flush` builds, a graph that is searched from neighbour to neighbour (pgvector, HNSW).

    Attributes:
        min_rows: records from which on it is built; below, each search looks at every record, and is exact.
        m: neighbours of a record in each layer of the graph.
        ef_construction: candidates looked at when a record is put in.
        ef_search: candidates looked at by a search; the more, the fewer of the nearest records it misses.
        build_memory: what the server may take to build it; a graph beyond that is built much more slowly.
    """

    min_rows: int = Field(default=10_000, ge=1)
    m: int = Field(default=16, ge=2, le=100)
    ef_construction: int = Field(default=64, ge=4, le=1000)
    ef_search: Annotated[int, Runtime()] = Field(default=100, ge=1, le=1000)
    build_memory: Annotated[ByteSize, Runtime()] = Field(default=256 << 20, ge=1 << 20)

    @model_validator(mode="after")
    def _check_construction(self) -> Self:
        if self.ef_construction < 2 * self.m:
            raise ValueError(f"`ef_construction` is {self.ef_construction}, and has to be at least twice `m`, {self.m}")
        return self


class PgVector(Store):
    """A table of PostgreSQL with the extension pgvector.

    Attributes:
        url: where the database is: `postgresql://user:password@host/database`.
        table: the table's name, or `schema.name`; made where it is not there.
        index: how it is searched.
        pool: the connections to it.
        timeout_s: seconds a statement may take; building an index may take any.
    """

    url: Annotated[SecretStr, Runtime()]
    table: str = "vectors"
    index: Hnsw = Hnsw()
    pool: Annotated[Pool, Runtime()] = Pool()
    timeout_s: Annotated[Duration, Runtime()] = Field(default=60.0, gt=0)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if not _URL.match(url.get_secret_value()):
            raise ValueError("expected an address that begins with `postgresql:`")
        return url

    @field_validator("table")
    @classmethod
    def _check_table(cls, table: str) -> str:
        for part in table.split(".", 1):
            if not part or "\0" in part or "%" in part or len(part.encode()) > MAX_NAME_BYTES:
                message = f"expected `table` or `schema.table`, each of 1 to {MAX_NAME_BYTES} bytes and without `%`"
                raise ValueError(message)  # which psycopg takes for the mark of a value
        return table

    @model_validator(mode="after")
    def _check_dimensions(self) -> Self:
        if self.dimensions > MAX_DIMENSIONS:
            raise ValueError(f"pgvector takes at most {MAX_DIMENSIONS:,} `dimensions`, got {self.dimensions:,}")
        return self

    def describe_result(self) -> dict[str, Any]:
        return {**super().describe_result(), "url": find_address(self.url.get_secret_value())}

    def find_place(self) -> tuple[str, str]:
        return show_address(self.url.get_secret_value()), self.table

    def open(self) -> VectorStore:
        for package in ("psycopg", "psycopg_pool", "numpy"):
            check_package(package, need="a store of pgvector", extra="pgvector")
        from tidemill.stores.pgvector.opened import OpenedPgVector

        return OpenedPgVector(self)
