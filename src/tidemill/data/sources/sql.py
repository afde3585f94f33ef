"""The rows of a SQL query as a source."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tidemill.config.objects.descriptions import describe_value
from tidemill.config.roles import Runtime
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.wording import words
from tidemill.data.files.storage import SecretOptions, leave_out_secrets
from tidemill.data.records.exact import from_exact_json
from tidemill.data.sources.placed import PlacedSource
from tidemill.data.sql.connection import (
    check_address,
    end_late,
    find_marks,
    is_file,
    open_connection,
    show_address,
)
from tidemill.data.sql.keys import Key, check_bounds, check_place, is_less
from tidemill.data.sql.query import KeyedQuery
from tidemill.data.sql.rows import Cursor, SQLReader, open_rows
from tidemill.errors import ConfigError, DataError, StateError
from tidemill.protocols import Growth, State

ROWS_PART = "rows"
"""The name of the one part of a query without splits."""


def _to_connect(value: Any, info: ValidationInfo) -> Any:
    if callable(value):
        return value
    if isinstance(value, str) and "://" not in value and ":" in value:
        folder = (info.context or {}).get("folder")
        found = import_object(value, None if folder is None else Path(folder))
        if callable(found):
            return found
        raise PydanticCustomError("connect", "`{value}` is not a function that connects", {"value": value})
    if not isinstance(value, str):
        message = "expected an address, a function that connects or its import path, got {kind}"
        raise PydanticCustomError("connect", message, {"kind": words.describe_value(value)})
    try:
        return check_address(value)
    except ConfigError as error:
        raise PydanticCustomError("connect", "{message}", {"message": error.message, "hint": error.hint}) from None


def _show_connect(value: Any) -> str:
    if isinstance(value, str):
        return show_address(value)
    try:
        return to_import_path(value)
    except ConfigError:
        return f"the function {getattr(value, '__qualname__', type(value).__qualname__)}"


ConnectTo = Annotated[
    Any,
    BeforeValidator(_to_connect),
    PlainSerializer(_show_connect, return_type=str),
    words.Says("an address or a function's import path"),
    WithJsonSchema({"type": "string", "description": "`sqlite:///file.db`, `postgresql://…` or `module:connect`."}),
]
"""An address, a function that connects, or its import path; holds the address or the function."""


class SQL(PlacedSource):
    """The rows of a query as a source; making one connects to nothing.

    A record is a row by the names of its columns. Decimals, dates and bytes are Python's; UUIDs and addresses of
    networks become text. The query is sent once for each time the source is read, and its rows stay with the server
    where the driver has such cursors (psycopg; ADBC streams as well).

    Resume: exact. With `key` the query goes on behind the last key, whatever was put in or taken out before it, once
    the database was asked whether rows would be passed over: those without a key, and those equal to the last one.
    Without, the rows given before are passed over, so it must give the same ones in the same order (`ORDER BY`).

    Attributes:
        sql: the query, one `SELECT` without an end.
        connect: an address (`sqlite:///file.db`, `postgresql://…`), or a function that gives a connection as PEP 249
            has it (ADBC's `dbapi` as well), or its import path.
        arguments: what the function, or the driver of an address, is called with; secrets among them are never shown
            or written, and no part of the fingerprint.
        params: what the query's marks stand for, in the driver's own way: a list, or a mapping by name.
        key: columns of the query that are never null and together differ in every row, as the database compares them:
            rows come in their order.
        splits: values of the first key column at which the rows are cut into parts, ascending.
        batch: rows fetched at a time.
    """

    sql: str = Field(min_length=1)
    connect: ConnectTo
    arguments: SecretOptions = Field(default_factory=dict)
    params: list[Any] | dict[str, Any] = Field(default_factory=list)
    key: str | tuple[str, ...] = ()
    splits: tuple[Any, ...] = ()
    batch: Annotated[int, Runtime()] = Field(default=1_000, gt=0)

    _seconds: float | None = PrivateAttr(default=None)

    @field_validator("key")
    @classmethod
    def _from_name(cls, value: str | tuple[str, ...]) -> tuple[str, ...]:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_splits(self) -> SQL:
        if self.splits and not self.key:
            raise PydanticCustomError(
                "splits", "splits need a `key`", {"hint": "name the column that they are values of"}
            )
        wrong = next(((a, b) for a, b in pairwise(self.splits) if is_less(b, a)), None)
        if wrong is not None:
            raise PydanticCustomError(
                "splits", "expected splits that ascend, got {a} before {b}", {"a": str(wrong[0]), "b": str(wrong[1])}
            )
        return self

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            yield name, _show_connect(value) if name == "connect" else value

    def __hash__(self) -> int:
        return hash((self.sql, self.key, _show_connect(self.connect)))

    def parts(self, start: str | None = None) -> Sequence[str]:
        """The one part, or those between the splits: `…10`, `10…20`, `20…`."""
        names = self._list_parts()
        return names[names.index(start) :] if start in names else names

    def open_part(self, part: str, state: State | None = None) -> SQLReader:
        """The rows of a part, from the first or from `state`.

        Raises:
            ResourceError: the database cannot be connected to, or does not take the query.
            StateError: the query gives fewer rows than stand before `state`.
        """
        behind = _read_key(state)
        cursor = self._send(part, behind)
        count = state["count"] if state else 0
        passed = cursor.skip(count) if count and not self.key else count
        if passed < count:
            cursor.close()
            raise StateError(
                f"the state stands behind row {count:,}, but the query gives {passed:,}",
                hint="give it a `key`, or an ORDER BY and the rows that it gave then",
            )
        return open_rows(cursor, self.key, count, behind)

    def decode_record(self, raw: bytes) -> Any:
        """Not possible: no error about a row carries its bytes."""
        raise DataError("expected a row of a query, which cannot be made from bytes", raw=raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """`grown` where there are rows behind the key that `state` has; `same` without a key: nothing is compared."""
        if not self.key:
            return "same"
        try:
            cursor = self._send(part, _read_key(state))
        except DataError:  # which reading it tells
            return "grown"
        try:
            return "grown" if cursor.fetch() else "same"
        finally:
            cursor.close()

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Nothing: counting rows may take as long as reading them."""
        return None

    def glance(self, seconds: float) -> SQL | None:
        """The same rows for a look at some: its queries end after so many seconds, with a `LateQueryError`.

        None where that costs somebody else: only a file of this machine (SQLite) is read in this process.
        """
        if not is_file(self.connect):
            return None
        glanced = self.model_copy()
        glanced._seconds = seconds
        return glanced

    def show(self) -> str:
        """The source in a line, as its user would write it."""
        line = " ".join(self.sql.split())
        return f"from_sql({line[:57] + '…' if len(line) > 58 else line!r})"

    def describe(self) -> dict[str, Any]:
        """The source as JSON: the query, and the database without credentials."""
        described = {"sql": self.sql, "connect": _show_connect(self.connect)}
        given: dict[str, Any] = {"arguments": leave_out_secrets(self.arguments), "params": self.params}
        given |= {"key": self.key, "splits": self.splits}
        return {"sql": {**described, **{name: describe_value(value) for name, value in given.items() if value}}}

    def _send(self, part: str, behind: Key | None) -> Cursor:
        """The query of a part, sent."""
        connection = open_connection(self.connect, self.arguments, self._folder)
        cursor = Cursor(connection, self.batch)
        try:
            if self._seconds is not None:
                end_late(connection, self._seconds)
            if not self.key:
                cursor.execute(self.sql, self.params)
                return cursor
            query = self._write_query(connection)
            start, stop = self._find_bounds(part)
            if behind is not None or self.splits:
                check_place(query, behind, cursor.ask)
            if behind is None and start is not None and stop is not None:
                check_bounds(query, start, stop, cursor.ask)
            cursor.execute(*query.write_rows(behind=behind, start=start, stop=stop))
        except BaseException:
            cursor.close()
            raise
        return cursor

    def _write_query(self, connection: Any) -> KeyedQuery:
        marks = find_marks(connection)
        if marks is None:
            raise ConfigError(
                f"nothing tells how `{type(connection).__module__}` marks parameters",
                hint="connect by a driver whose module has a `paramstyle` (PEP 249), or leave out `key`",
            )
        return KeyedQuery(self.sql, self.params, tuple(self.key), marks)

    def _list_parts(self) -> list[str]:
        ends = [str(each) for each in self.splits]
        return (
            [f"{start}…{stop}" for start, stop in zip(["", *ends], [*ends, ""], strict=True)] if ends else [ROWS_PART]
        )

    def _find_bounds(self, part: str) -> tuple[Any, Any]:
        number = self._list_parts().index(part)
        bounds = [None, *self.splits, None]
        return (bounds[number], bounds[number + 1]) if self.splits else (None, None)


def _read_key(state: State | None) -> Key | None:
    key = None if state is None else state.get("key")
    return None if key is None else tuple(from_exact_json(key))
