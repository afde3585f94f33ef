"""Databases that are only read: what a tool asks of one, and which there are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tidemill.agents.builtin.postgres import Postgres
from tidemill.agents.builtin.sqlite import SQLiteFile
from tidemill.agents.builtin.tables import Bounds, Rows, Table
from tidemill.agents.tools.refusal import RefusalError
from tidemill.calls.credentials import register_credentials
from tidemill.config.secrets import say_cause
from tidemill.config.wording.suggest import find_near, list_names
from tidemill.errors import ConfigError, TransientCallError
from tidemill.packages import missing_package

_URL = re.compile(r"postgres(ql)?://")
_NO_TABLE = re.compile(r'no such table: (?:main\.)?([^\s,]+)|relation "([^"]+)" does not exist')
_NO_COLUMN = re.compile(r'no such column: ([^\s,]+)|column "?([^\s"]+)"? does not exist')


class Database(Protocol):
    """Reads one database, each query by itself; every method blocks, and may be called from several threads.

    Attributes:
        dialect: whose SQL it takes.
    """

    @property
    def dialect(self) -> str: ...

    def query(self, sql: str, given: Sequence[Any] | Mapping[str, Any], *, timeout_s: float, bounds: Bounds) -> Rows:
        """The rows of one statement that reads.

        Raises:
            RefusalError: it is no such statement, took longer than `timeout_s`, or the database does not take it;
                the message is for the model.
            TransientCallError: it may be taken at another time.
            ResourceError: the database cannot be read.
        """
        ...

    def tables(self, *, timeout_s: float) -> list[Table]:
        """Every table and view there is to read; raises as `query` does."""
        ...


Source = str | os.PathLike[str] | Callable[[], Any]
"""A SQLite file, a `postgresql://` address, or what opens a connection to PostgreSQL."""


def find_database(source: Source) -> Database:
    """The database at `source`; nothing is opened.

    Raises:
        ConfigError: there is no such file.
        ResourceError: psycopg, which an address takes, is not installed.
    """
    if callable(source):
        return Postgres(source)
    text = os.fspath(source)
    if _URL.match(text):
        return Postgres(_connector(text))
    if "://" in text:
        raise ConfigError("expected a SQLite file or `postgresql://…`", hint="or a function that opens a connection")
    return SQLiteFile(text)


def name_nearest(error: RefusalError, tables: Callable[[], Sequence[Table]]) -> None:
    """Have `error` tell the nearest name there is, where it speaks of a table or column that is not there."""
    if match := _NO_TABLE.search(error.message):
        wanted = (match.group(1) or match.group(2)).strip('"`[]')
        names = [table.name for table in tables()]
        near = find_near(wanted, names)
        error.hint = f"did you mean `{near}`?" if near else f"tables: {list_names(names)}" if names else ""
    elif match := _NO_COLUMN.search(error.message):
        wanted = (match.group(1) or match.group(2)).rpartition(".")[2].strip('"`[]')
        near = find_near(wanted, dict.fromkeys(column.name for table in tables() for column in table.columns))
        error.hint = f"did you mean `{near}`?" if near else ""


def _connector(url: str) -> Callable[[], Any]:
    try:
        import psycopg
    except ImportError as error:
        raise missing_package("a PostgreSQL address", "psycopg", "postgres", error) from None
    register_credentials({}, url)

    def connect() -> Any:
        try:
            return psycopg.connect(url, connect_timeout=10)
        except psycopg.OperationalError as exc:
            text = say_cause(exc)
        raise TransientCallError(f"the database cannot be reached: {text}")

    return connect
