"""`sql_query` and `sql_schema`: questions to a database that is only read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from tidemill.agents.builtin.databases import Source, find_database, name_nearest
from tidemill.agents.builtin.tables import Bounds, Rows, Table
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.refusal import RefusalError
from tidemill.agents.tools.tool import Tool
from tidemill.config.model import Settings
from tidemill.config.types.durations import Duration
from tidemill.config.wording.suggest import suggest
from tidemill.errors import TidemillError

SQL_TIMEOUT_S = 30.0
_SCHEMA_TIMEOUT_S = 10.0

Value = str | int | float | bool | None


class SQLLimits(Settings):
    """How much a query may give, and for how long it may go.

    Attributes:
        rows: of a result that are told.
        bytes: of their text.
        timeout_s: seconds a query may take; the database itself stops it.
    """

    rows: int = Field(default=100, ge=1, le=10_000)
    bytes: int = Field(default=24 << 10, ge=256)
    timeout_s: Duration = Field(default=SQL_TIMEOUT_S, gt=0)


def sql_query(source: Source, *, limits: SQLLimits = SQLLimits(), name: str = "sql_query") -> Tool:  # noqa: B008 - frozen
    """A tool that asks a database by SQL and cannot change it.

    SQLite: the file is opened to be read only, and an authorizer lets through nothing but reading. PostgreSQL: one
    statement in a READ ONLY transaction, rolled back; functions with side effects are what the role may call, so give
    it one that may read only what it is to read. Each query has a connection of its own. What the database says of a
    wrong query goes to the model, with the nearest table or column there is.

    Args:
        source: a SQLite file, a `postgresql://` address (psycopg), or a function that opens a connection to PostgreSQL
            as PEP 249 has it.
        limits: of size and time.
        name: as the model sees it.

    Raises:
        ConfigError: there is no such file.
        ResourceError: an address is given, and psycopg is not installed.
    """
    database = find_database(source)
    bounds = Bounds(limits.rows, limits.bytes)
    marks = "`?`, or `:name`" if database.dialect == "SQLite" else "`%s`, or `%(name)s`"

    def query(
        sql: Annotated[str, Field(min_length=1, max_length=20_000, description="One statement that reads.")],
        parameters: Annotated[
            list[Value] | dict[str, Value], Field(description=f"What stands for the marks in it: {marks}.")
        ] = [],  # noqa: B006 - read only
    ) -> Rows:
        try:
            return database.query(sql, parameters, timeout_s=limits.timeout_s, bounds=bounds)
        except RefusalError as error:
            refusal = error
        with suppress(TidemillError):  # then the names there are go untold
            name_nearest(refusal, lambda: database.tables(timeout_s=_SCHEMA_TIMEOUT_S))
        raise refusal

    said = f"Ask a {database.dialect} database by one SQL statement that reads. Gives {limits.rows} rows at most."
    timeout_s = limits.timeout_s + _SCHEMA_TIMEOUT_S + 5
    made: Tool = tool(query, name=name, description=said, shows_errors=True, idempotent=True, timeout_s=timeout_s)
    return replace(made, identity={"builtin": "sql_query", "limits": limits.to_dict(), **_describe(source)})


def sql_schema(source: Source, *, name: str = "sql_schema") -> Tool:
    """A tool that tells the tables and views of a database, and their columns; see `sql_query`.

    Args:
        source: as of `sql_query`.
        name: as the model sees it.

    Raises:
        ConfigError: there is no such file.
        ResourceError: an address is given, and psycopg is not installed.
    """
    database = find_database(source)

    def schema(
        table: Annotated[str, Field(max_length=200, description="One table; all where it is empty.")] = "",
    ) -> list[Table]:
        found = database.tables(timeout_s=_SCHEMA_TIMEOUT_S)
        if not table:
            return found
        names = [each.name for each in found]
        if table not in names:
            raise RefusalError(f"there is no table `{table}`", hint=suggest(table, names))
        return [each for each in found if each.name == table]

    said = f"List the tables and views of the {database.dialect} database, with their columns and types."
    made: Tool = tool(schema, name=name, description=said, shows_errors=True, idempotent=True)
    return replace(made, identity={"builtin": "sql_schema", **_describe(source)})


def _describe(source: Source) -> dict[str, Any]:
    """Where the database is, without credentials."""
    if callable(source):
        return {"source": f"{source.__module__}:{source.__qualname__}"}
    parts = urlsplit(str(source))
    if parts.scheme:
        return {"source": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"}
    return {"source": str(source)}
