"""Going through the rows of a query, knowing the key of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from operator import length_hint
from typing import Any, cast
from uuid import UUID

from tidemill.data.reader import PartReader, raise_each
from tidemill.data.records.exact import to_exact_json
from tidemill.data.sql.connection import close_connection, explaining, is_adbc, open_cursor
from tidemill.data.sql.keys import Key, take_keys
from tidemill.errors import ConfigError, DataError, ResourceError
from tidemill.protocols import Record, State

_MAPPED: Mapping[type, Callable[[Any], Any]] = {
    memoryview: bytes,
    bytearray: bytes,
    UUID: str,
    IPv4Address: str,
    IPv6Address: str,
    IPv4Network: str,
    IPv6Network: str,
}
"""Values that drivers give and no file holds, and what they become; decimals, dates and bytes stay what they are."""


class Cursor:
    """A query under way: its blocks of rows. Closed once, also when it is dropped."""

    def __init__(self, connection: Any, block_rows: int) -> None:
        self._connection = connection
        self._cursor: Any = None
        self._block_rows = block_rows
        self._batches: Iterator[list[Record]] | None = None
        self._ahead: list[Record] = []

    def __del__(self) -> None:
        self.close()

    def execute(self, sql: str, params: Any) -> None:
        """Send the query.

        Raises:
            ResourceError: the database does not take it.
        """
        with explaining("the query fails"):
            self._cursor = open_cursor(self._connection)
            if params:
                self._cursor.execute(sql, params)
            else:
                self._cursor.execute(sql)
            if is_adbc(self._connection):
                self._batches = self._iter_batches(self._cursor.fetch_record_batch())

    def ask(self, sql: str, params: Any) -> Record | None:
        """The first row of a query that is over before another is sent; None where it gives none."""
        self.execute(sql, params)
        rows = self.fetch()
        self._batches = None
        self._cursor.close()
        return rows[0] if rows else None

    def skip(self, count: int) -> int:
        """Pass over rows; how many there were."""
        passed = 0
        while passed < count and (block := self.fetch()):
            self._ahead = block[count - passed :]
            passed += len(block) - len(self._ahead)
        return passed

    def fetch(self) -> list[Record]:
        """The next rows as dicts, none at the end."""
        if self._ahead:
            ahead, self._ahead = self._ahead, []
            return ahead
        with explaining("the rows cannot be fetched"):
            if self._batches is not None:
                return next(self._batches, [])
            rows = self._cursor.fetchmany(self._block_rows)
            if not rows:
                return []
            if isinstance(rows[0], Mapping):
                return [dict(row) for row in rows]
            names = tuple(each[0] for each in self._cursor.description)
            _check_names(names)
            return [dict(zip(names, row, strict=True)) for row in rows]

    def close(self) -> None:
        """End the query and the connection."""
        if self._connection is not None:
            close_connection(self._connection, self._cursor)
            self._connection = self._cursor = self._batches = None

    def _iter_batches(self, reader: Any) -> Iterator[list[Record]]:
        _check_names(tuple(reader.schema.names))
        for batch in reader:
            for start in range(0, batch.num_rows, self._block_rows):
                yield batch.slice(start, self._block_rows).to_pylist()


class SQLReader(PartReader):
    """The rows of one part.

    Memory: the rows fetched at a time.   Resume: exact; with a key from there on, else by passing over the rows before.
    Threads: those that the driver allows, one at a time.
    """

    _cursor: Cursor
    _place: _Place

    def state(self, back: int = 0) -> State:
        return self._place.state(back)

    def close(self) -> None:
        self._cursor.close()


class _Place:
    """Where a reader stands; shared with the generator that feeds it."""

    def __init__(self, count: int, behind: Key | None) -> None:
        self._count = count
        self._before: Any = behind if behind is None or len(behind) > 1 else behind[0]
        self._keys: Sequence[Any] | None = None
        self._length = 0
        self._link: Iterator[Any] = iter(())

    @property
    def last(self) -> Any:
        """The key of the last of its records, of one column the value; None before the first."""
        return self._keys[-1] if self._keys else self._before

    def follow(self, records: list[Record], keys: Sequence[Any] | None) -> Iterator[Any]:
        """The records as the next link."""
        self._before = self.last
        self._count += self._length
        self._length, self._keys, self._link = len(records), keys, iter(records)
        return self._link

    def state(self, back: int) -> State:
        given = self._length - length_hint(self._link) - back
        state: State = {"count": self._count + given}
        key = self._keys[given - 1] if self._keys and given > 0 else self._before
        if key is not None:
            state["key"] = to_exact_json(list(key) if type(key) is tuple else [key])
        return state


def open_rows(cursor: Cursor, key: Sequence[str], given: int, behind: Key | None) -> SQLReader:
    """A reader of the rows that a query gives from now on, of which so many were given before."""
    place = _Place(given, behind)
    reader = cast(SQLReader, SQLReader.from_iterable(_iter_links(cursor, tuple(key), place)))
    reader._cursor = cursor
    reader._place = place
    return reader


def _iter_links(cursor: Cursor, key: Sequence[str], place: _Place) -> Iterator[Iterator[Any]]:
    failure: Exception | None = None
    try:
        while records := cursor.fetch():
            keys = take_keys(records, key, place.last) if key else None
            yield place.follow(_map_values(records), keys)
    except (ResourceError, ConfigError, DataError) as error:
        error.of = "run"  # what is wrong is the query's
        failure = error.with_traceback(None)
    finally:
        cursor.close()
    while failure is not None:  # an end would be taken for that of the data
        yield raise_each((failure,))


def _map_values(records: list[Record]) -> list[Record]:
    kinds = set(map(type, chain.from_iterable(map(dict.values, records))))
    if kinds.isdisjoint(_MAPPED):
        return records
    return [
        {name: _MAPPED[type(value)](value) if type(value) in _MAPPED else value for name, value in record.items()}
        for record in records
    ]


def _check_names(names: Sequence[str]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ConfigError(
            f"the query gives two columns `{repeated}`, and a record has one of each name",
            hint="name columns instead of `*`, or give one another name: `b.id AS other_id`",
        )
