"""A SQLite file that is only read."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tidemill.agents.builtin.statements import check_single
from tidemill.agents.builtin.tables import Bounds, Column, Rows, Table, group_columns, read_rows
from tidemill.agents.tools.refusal import RefusalError
from tidemill.errors import ConfigError, ResourceError, TransientCallError

_READS: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_PRAGMAS: Final = frozenset(
    {
        *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"),
        "data_version",  # which FTS5 asks of itself
    }
)
_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})
"""Functions that reach beyond the database."""
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: 16 << 20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
"""What SQLite's authors advise for SQL of others (sqlite.org/security.html)."""
_STEPS: Final = 10_000
"""Instructions of SQLite's machine between two looks at the clock: less than a millisecond."""


class SQLiteFile:
    """Reads a SQLite database; each query over a connection of its own. Safe to share.

    The file is opened to be read only, with `query_only` and an authorizer that lets nothing through but reading.

    Raises:
        ConfigError: there is no such file.
    """

    dialect = "SQLite"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        if not self.path.is_file():
            raise ConfigError(f"there is no database `{path}`", hint="name a SQLite file that is there")

    def query(self, sql: str, given: Sequence[Any] | Mapping[str, Any], *, timeout_s: float, bounds: Bounds) -> Rows:
        """The rows of one statement. See `Database`."""
        statement, _ = check_single(sql, is_postgres=False)
        guard = _Guard(timeout_s)
        with self._open(guard) as connection, guard.explain():
            cursor = connection.execute(statement, given)
            if cursor.description is None:
                return Rows([], [])
            first = cursor.fetchone()
            names = [each[0] for each in cursor.description]
            columns = [Column(name, _type_of(first, at)) for at, name in enumerate(names)]
            return read_rows(columns, _chain(first, cursor), bounds)

    def tables(self, *, timeout_s: float) -> list[Table]:
        """Every table and view. See `Database`."""
        guard = _Guard(timeout_s)
        with self._open(guard) as connection, guard.explain():
            found = connection.execute(
                "SELECT m.name, c.name, c.type FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c "
                "WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND c.hidden != 1 "
                "ORDER BY m.name, c.cid"
            ).fetchall()
        return group_columns(found)

    @contextmanager
    def _open(self, guard: _Guard) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=ro", uri=True, isolation_level=None, timeout=guard.timeout_s
            )
        except sqlite3.Error as exc:
            raise ResourceError(f"the database cannot be opened: {exc}", where=str(self.path)) from None
        with closing(connection):
            for category, limit in _LIMITS.items():
                connection.setlimit(category, limit)
            with guard.explain():
                connection.execute("PRAGMA query_only = ON")
                connection.execute("PRAGMA trusted_schema = OFF")
            connection.set_authorizer(guard.authorize)
            connection.set_progress_handler(guard.is_late, _STEPS)
            yield connection


class _Guard:
    """What one query may do, and why it may not."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._ends_at = time.monotonic() + timeout_s
        self._refused: str | None = None

    def authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        """SQLite asks this of everything that a statement does, before it is run."""
        if action in _READS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _FUNCTIONS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _PRAGMAS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
            return sqlite3.SQLITE_OK  # how SQLite declares `json_each` and the like; nobody may write it by SQL
        self._refused = second or "" if action == sqlite3.SQLITE_FUNCTION else first or ""
        return sqlite3.SQLITE_DENY

    def is_late(self) -> bool:
        """SQLite asks this every few thousand instructions, and stops where it is so."""
        return time.monotonic() > self._ends_at

    @contextmanager
    def explain(self) -> Iterator[None]:
        """What SQLite raises, by who can do something about it."""
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.DataError, OverflowError) as exc:
            self._check_refused()
            code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise TransientCallError("the database is locked by whoever writes to it") from None
            if code == sqlite3.SQLITE_INTERRUPT:
                hint = "narrow it down, or ask for less"
                raise RefusalError(f"the query took longer than {self.timeout_s:.3g} s", hint=hint) from None
            if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL):
                raise ResourceError(f"the database cannot be read: {exc}") from None
            raise RefusalError(str(exc)) from None
        except sqlite3.DatabaseError as exc:
            self._check_refused()
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_TOOBIG:
                raise RefusalError(f"a value of it is too long: {exc}") from None
            raise ResourceError(f"the database cannot be read: {exc}") from None

    def _check_refused(self) -> None:
        if self._refused is not None:
            about = f" (`{self._refused}`)" if self._refused else ""
            raise RefusalError(f"only reading is allowed{about}", hint="write one SELECT") from None


def _type_of(row: Sequence[Any] | None, at: int) -> str:
    """The storage class of a value, as SQLite's own `typeof` names it."""
    names = {int: "integer", float: "real", str: "text", bytes: "blob"}
    return names.get(type(row[at]), "") if row is not None else ""


def _chain(first: Any, cursor: sqlite3.Cursor) -> Iterator[Sequence[Any]]:
    if first is not None:
        yield first
        yield from cursor
