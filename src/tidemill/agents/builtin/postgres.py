"""A PostgreSQL database that is only read."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from tidemill.agents.builtin.statements import check_single
from tidemill.agents.builtin.tables import Bounds, Column, Rows, Table, group_columns, read_rows
from tidemill.agents.tools.refusal import RefusalError
from tidemill.config.secrets import say_cause
from tidemill.data.sql.failures import TRANSIENT, find_state, find_words
from tidemill.errors import PermanentCallError, ResourceError, TidemillError, TransientCallError

Connect = Callable[[], Any]
"""Opens a connection as PEP 249 has it."""

Ask = Callable[[str, Any], Any]
"""Sends a statement with what is given for its marks, and gives the cursor."""

_QUERIES: Final = frozenset({"select", "with", "values", "table"})
"""What a cursor can be declared for, so that the server sends no more rows than are wanted."""
_TOLD: Final = frozenset({"explain", "show"})
"""What answers in a few rows by itself."""
_MODELS: Final = ("0A", "20", "21", "22", "23", "25", "26", "2B", "2F", "34", "3D", "3F", "42", "44", "P0")
"""Classes of SQLSTATE that speak of the statement (PostgreSQL, appendix A)."""
_SHOWN: Final = 1_000


class Postgres:
    """Reads a PostgreSQL database; each query over a connection of its own, closed behind it. Safe to share.

    A query is one statement in a transaction that is READ ONLY and rolled back, with `statement_timeout`. That keeps
    it from writing, not from calling functions that the role may call: give it a role that may read what it is to
    read, and nothing else.

    Args:
        connect: opens a connection: of psycopg, psycopg2, or another driver by PEP 249.
    """

    dialect = "PostgreSQL"

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def query(self, sql: str, given: Sequence[Any] | Mapping[str, Any], *, timeout_s: float, bounds: Bounds) -> Rows:
        """The rows of one statement. See `Database`."""
        statement, first = check_single(sql, is_postgres=True)
        if first not in _QUERIES | _TOLD:
            raise RefusalError(f"only reading is allowed (`{first.upper()}`)", hint="write one SELECT")
        with self._begin(timeout_s) as ask:
            if first in _TOLD:
                cursor = ask(statement, given)
            else:
                ask(f"DECLARE tidemill NO SCROLL CURSOR FOR {statement}", given)
                cursor = ask(f"FETCH FORWARD {bounds.rows + 1} FROM tidemill", ())
            described = [(each[0], each[1]) for each in cursor.description or ()]
            found = cursor.fetchall() if described else []
            return read_rows(_name_types(described, ask), found, bounds)

    def tables(self, *, timeout_s: float) -> list[Table]:
        """Every table and view that the role may see. See `Database`."""
        with self._begin(timeout_s) as ask:
            found = ask(
                "SELECT CASE table_schema WHEN current_schema() THEN table_name::text "
                "ELSE table_schema || '.' || table_name END, column_name::text, data_type::text "
                "FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema') "
                "ORDER BY table_schema, table_name, ordinal_position",
                (),
            ).fetchall()
        return group_columns(found)

    @contextmanager
    def _begin(self, timeout_s: float) -> Iterator[Ask]:
        """What sends one statement and gives its cursor, within a transaction that can only read."""
        connection = self._open()
        try:
            if getattr(connection, "autocommit", False):
                connection.autocommit = False
            options = _one_by_one(connection)
            cursor = connection.cursor()

            def ask(sql: str, given: Any) -> Any:
                if given or options:
                    cursor.execute(sql, given or None, **options)
                else:
                    cursor.execute(sql)
                return cursor

            error = _error_of(connection)
            with _explain(error, timeout_s):
                _hold(ask, error, timeout_s)
                yield ask
        finally:
            connection.close()  # which rolls back

    def _open(self) -> Any:
        failure: Exception
        try:
            return self._connect()
        except TidemillError:
            raise
        except Exception as exc:  # noqa: BLE001 - a user's function: whatever it is, nothing was asked yet
            text = say_cause(exc, max_chars=_SHOWN)
            failure = TransientCallError(f"the database cannot be reached: {type(exc).__name__}: {text}")
        raise failure


def _hold(ask: Ask, error: type[Exception], timeout_s: float) -> None:
    """Hold the transaction to reading, and its statements to a time."""
    try:
        ask("SET TRANSACTION READ ONLY", ())
        ask(f"SET LOCAL statement_timeout = {max(1, int(timeout_s * 1000))}", ())
        ask("SET LOCAL standard_conforming_strings = on", ())  # as `check_single` reads them
        # The first query of a transaction settles that it cannot be made one that writes.
        (is_read_only,) = ask("SELECT current_setting('transaction_read_only')", ()).fetchone()
    except error as exc:
        if find_state(exc).startswith(TRANSIENT):
            raise
        text = say_cause(exc, find_words(exc), max_chars=_SHOWN)
        raise ResourceError(f"the connection is none to PostgreSQL that can be held to reading: {text}") from None
    if is_read_only != "on":
        raise ResourceError("the connection takes no transaction that only reads", hint="turn autocommit off")


def _name_types(described: Sequence[tuple[str, Any]], ask: Ask) -> list[Column]:
    """The columns with their types as PostgreSQL names them, which drivers describe by number."""
    numbers = sorted({kind for _, kind in described if isinstance(kind, int)})
    names: dict[Any, str] = {}
    if numbers:
        listed = ", ".join(map(str, numbers))
        found = ask(f"SELECT oid::bigint, format_type(oid, NULL) FROM pg_type WHERE oid IN ({listed})", ()).fetchall()
        names = dict(found)
    return [Column(name, names.get(kind, "")) for name, kind in described]


def _one_by_one(connection: Any) -> dict[str, Any]:
    """What has psycopg send a statement so that the server refuses a second one behind it."""
    return {"prepare": True} if type(connection).__module__.partition(".")[0] == "psycopg" else {}


def _error_of(connection: Any) -> type[Exception]:
    """What the driver raises, all of it (PEP 249)."""
    found: Any = getattr(importlib.import_module(type(connection).__module__.partition(".")[0]), "Error", None)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        raise ResourceError(f"`{type(connection).__qualname__}` is no connection as PEP 249 has it")
    return found


@contextmanager
def _explain(error: type[Exception], timeout_s: float) -> Iterator[None]:
    """What the driver raises, by who can do something about it."""
    failure: Exception
    try:
        yield
        return
    except error as exc:
        state = find_state(exc)
        text = say_cause(exc, find_words(exc), max_chars=_SHOWN)
        if state == "57014":
            hint = "narrow it down, or ask for less"
            failure = RefusalError(f"the query took longer than {timeout_s:.3g} s", hint=hint)
        elif state == "25006":
            failure = RefusalError(f"only reading is allowed: {text}", hint="write one SELECT")
        elif state.startswith(_MODELS) or (not state and _is_of_driver(exc)):
            failure = RefusalError(text)
        elif not state or state.startswith(TRANSIENT):
            failure = TransientCallError(f"the database did not answer: {text}")
        else:
            failure = PermanentCallError(f"the database refused: {text}", of="run")
    raise failure


def _is_of_driver(exc: Exception) -> bool:
    """Whether the driver itself did not take the statement or what was given with it: nothing was lost or cut."""
    names = {kind.__name__ for kind in type(exc).__mro__}
    is_lost = "OperationalError" in names or isinstance(exc.__cause__, OSError)
    return not is_lost and bool(names & {"ProgrammingError", "InterfaceError", "DataError", "NotSupportedError"})
