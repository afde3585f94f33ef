"""Rows of databases as a source: SQLite in process, a real PostgreSQL, ADBC."""

from __future__ import annotations

import datetime
import decimal
import pickle
import re
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import adbc_driver_postgresql.dbapi
import adbc_driver_sqlite.dbapi
import pg8000.dbapi  # type: ignore[import-untyped]
import psycopg
import psycopg.rows
import pytest
from resuming import check_resumes_everywhere, outcomes, through_json

import tidemill as tm
from conftest import Command, PostgresServer
from tidemill.data.sources.sql import SQL
from tidemill.data.sql.query import KeyedQuery
from tidemill.errors import ConfigError, DataError, ResourceError, StateError
from tidemill.jobs.landing.stretch import SegmentLimits

ROWS = 13
TABLE = "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, shop INTEGER)"
ALL = "SELECT id, name, shop FROM items WHERE name LIKE 'n%';"


def rows(start: int = 0, stop: int = ROWS) -> list[dict[str, Any]]:
    return [{"id": n * 2, "name": f"n{n}", "shop": n % 3} for n in range(start, stop)]


def tuples() -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows()]


@pytest.fixture(scope="module", autouse=True)
def _opened_once() -> None:
    """What Arrow opens once, where it is handed a stream, and keeps for the process."""
    with adbc_driver_sqlite.dbapi.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetch_record_batch().read_all()


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    """A file with 13 rows, of even numbers."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(TABLE)
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", tuples())
    return path


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> str:
    """The address of a database with the same rows, and a table of 1,000."""
    url = postgres_server.make_database()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute("CREATE SEQUENCE counter")
        cursor.execute("CREATE TABLE many AS SELECT n AS id, 'n' || n AS name FROM generate_series(0, 999) AS n")
        cursor.executemany("INSERT INTO items VALUES (%s, %s, %s)", tuples())
    return url


Options = dict[str, Any]
WAYS: dict[str, Callable[[str | Path], Options]] = {
    "sqlite": lambda at: {"connect": f"sqlite:///{at}"},
    "sqlite function": lambda at: {"connect": sqlite3.connect, "arguments": {"database": str(at)}},
    "sqlite adbc": lambda at: {"connect": adbc_driver_sqlite.dbapi.connect, "arguments": {"uri": str(at)}},
    "postgres": lambda at: {"connect": at},
    "postgres function": lambda at: {
        "connect": psycopg.connect,
        "arguments": {"conninfo": at, "autocommit": True, "row_factory": psycopg.rows.dict_row},
    },
    "postgres adbc": lambda at: {"connect": adbc_driver_postgresql.dbapi.connect, "arguments": {"uri": at}},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Options:
    """How to connect to each database, by each driver."""
    at = request.getfixturevalue(request.param.partition(" ")[0])
    return WAYS[request.param](at)


@pytest.mark.parametrize("key", [(), ("shop", "id")])
def test_every_position_resumes(way: Options, key: Any) -> None:
    """With a key, with several columns of it, and without one."""
    sql = ALL if key else "SELECT id, name, shop FROM items ORDER BY id"
    stream = tm.from_sql(sql, key=key or None, batch=5, **way)
    found = check_resumes_everywhere(stream.iterate)
    order = rows() if key != ("shop", "id") else sorted(rows(), key=lambda row: (row["shop"], row["id"]))
    assert [outcome[1] for outcome in found] == order


def test_what_is_put_in_before_the_key_changes_nothing_behind_it(sqlite: Path) -> None:
    """What counting would lose or repeat; rows behind the key are found."""
    stream = tm.from_sql(ALL, f"sqlite:///{sqlite}", key="id")
    records = stream.iterate()
    first = [record["id"] for record in islice(records, 10)]
    state = through_json(records.state())
    records.close()
    with closing(sqlite3.connect(sqlite)) as connection, connection:
        connection.execute("DELETE FROM items WHERE id < 6")
        connection.execute("INSERT INTO items VALUES (1, 'n', 0), (15, 'n', 0), (45, 'n', 0), (47, 'n', 0)")
    assert first == list(range(0, 20, 2))
    assert [record["id"] for record in stream.iterate(state)] == [20, 22, 24, 45, 47]


def test_rows_behind_the_last_key_are_growth(sqlite: Path) -> None:
    source = SQL(sql=ALL, connect=f"sqlite:///{sqlite}", key="id")
    reader = source.open_part("rows")
    assert len(list(reader)) == ROWS
    state = through_json(reader.state())
    assert source.compare_part("rows", state) == "same"
    with closing(sqlite3.connect(sqlite)) as connection, connection:
        connection.execute("INSERT INTO items VALUES (99, 'n', 0)")
    assert source.compare_part("rows", state) == "grown"
    assert [record["id"] for record in source.open_part("rows", state)] == [99]
    assert source.measure_part("rows", state) is None


@pytest.mark.parametrize("way", ["sqlite", "sqlite adbc", "postgres"], indirect=True)
def test_splits_cut_the_rows_into_parts(way: Options) -> None:
    """By the first column of the key; each part goes on by itself."""
    stream = tm.from_sql(ALL, key="id", splits=[10, 20], batch=4, **way)
    assert list(stream.source.parts()) == ["…10", "10…20", "20…"]
    assert list(stream.source.parts("10…20")) == ["10…20", "20…"]
    assert [len(list(stream.source.open_part(part))) for part in stream.source.parts()] == [5, 5, 3]
    assert [outcome[1] for outcome in check_resumes_everywhere(stream.iterate)] == rows()


@pytest.mark.parametrize(
    ("name", "sql", "params"),
    [
        ("sqlite", "SELECT * FROM items WHERE shop = ? AND name LIKE 'n%'", [1]),
        ("sqlite", "SELECT * FROM items WHERE shop = :shop AND name LIKE 'n%'", {"shop": 1}),
        ("sqlite adbc", "SELECT * FROM items WHERE shop = ? AND name LIKE 'n%'", [1]),
        ("postgres", "SELECT * FROM items WHERE shop = %s AND name LIKE 'n%%'", [1]),
        ("postgres", "SELECT * FROM items WHERE shop = %(shop)s AND name LIKE 'n%%'", {"shop": 1}),
        ("postgres adbc", "SELECT * FROM items WHERE shop = $1 AND name LIKE 'n%'", [1]),
    ],
)
def test_marks_are_the_drivers_own(name: str, sql: str, params: Any, request: pytest.FixtureRequest) -> None:
    """Those of the query beside those of the key, from every position."""
    at = request.getfixturevalue(name.partition(" ")[0])
    stream = tm.from_sql(sql, key="id", params=params, batch=3, **WAYS[name](at))
    assert [outcome[1] for outcome in check_resumes_everywhere(stream.iterate)] == [r for r in rows() if r["shop"] == 1]


def test_marks_of_drivers_that_are_not_here() -> None:
    """Numbered and named ones, and names in quotes."""
    query = partial(KeyedQuery, "SELECT 1;", key=("a", "B c"))
    assert query(params=[7], marks="numeric").write_rows(behind=[1, 2]) == (
        'SELECT * FROM (\nSELECT 1\n) AS tidemill_rows WHERE (a, "B c") > (:2, :3) ORDER BY a, "B c"',
        [7, 1, 2],
    )
    sql, params = query(params={"x": 7}, marks="named").write_rows(behind=[1, 2])
    assert sql.count(":tidemill_") == len(params) - 1 == 2
    place, given = query(params=[], marks="format").write_count([1])
    assert place.endswith('WHERE a = %s AND "B c" IS NULL')
    assert given == [1]
    only_null = KeyedQuery("SELECT a FROM b WHERE c LIKE 'n%'", [], ("a",), "format").write_count([])
    assert only_null[0].endswith("LIKE 'n%'\n) AS tidemill_rows WHERE a IS NULL")  # sent alone, where `%%` is two
    assert only_null[1] == []


def test_another_driver_of_postgres_works(postgres: str) -> None:
    """One that has no cursor of the server's."""
    parts = urlsplit(postgres)
    folder, name = parse_qs(parts.query)["host"][0], parts.path[1:]
    connect = partial(pg8000.dbapi.connect, "postgres", database=name, unix_sock=f"{folder}/.s.PGSQL.5432")
    stream = tm.from_sql(ALL, connect, key="id", batch=7)
    assert [outcome[1] for outcome in check_resumes_everywhere(stream.iterate)] == rows()


TYPED = """SELECT 1 AS id, 12.50::numeric(8,2) AS price, '2026-11-27T08:00:00+02'::timestamptz AS at,
    '2026-11-27'::date AS day, '\\x00ff'::bytea AS raw, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS uid,
    '{"a": [1]}'::jsonb AS meta, ARRAY[1.5, 2.5]::float4[] AS vector, NULL::text AS nothing,
    '10.0.0.1'::inet AS host, true AS is_new"""


def test_values_are_pythons_own(postgres: str) -> None:
    """Decimals, times with their zone, dates, bytes, JSON and arrays; what no file holds becomes text."""
    (record,) = tm.from_sql(TYPED, postgres, key="id")
    assert record == {
        "id": 1,
        "price": decimal.Decimal("12.50"),
        "at": datetime.datetime(2026, 11, 27, 6, tzinfo=datetime.UTC),
        "day": datetime.date(2026, 11, 27),
        "raw": b"\x00\xff",
        "uid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "meta": {"a": [1]},
        "vector": [1.5, 2.5],
        "nothing": None,
        "host": "10.0.0.1",
        "is_new": True,
    }


def test_decimals_and_dates_land_as_they_are(postgres: str, tmp_path: Path) -> None:
    """Also those with more digits than the first segment had."""
    days = "SELECT n AS id, (10 ^ n)::numeric(14,2) AS price, '2026-01-01'::date + n AS day"
    tm.from_sql(f"{days} FROM generate_series(0, 9) AS n", postgres, key="id").write(
        tmp_path / "out", segment=SegmentLimits(records=2)
    )
    landed = list(tm.dataset(tmp_path / "out"))
    assert [record["price"] for record in landed] == [decimal.Decimal(10**n).quantize(CENT) for n in range(10)]
    assert landed[-1]["day"] == datetime.date(2026, 1, 10)


CENT = decimal.Decimal("0.01")
KEYS = {
    "numeric": ("(n / 3.0)::numeric(9,4)", decimal.Decimal),
    "timestamptz": ("'2026-01-01Z'::timestamptz + n * interval '1.000001 s'", datetime.datetime),
    "date": ("'2026-01-01'::date + n", datetime.date),
    "uuid": ("('00000000-0000-0000-0000-0000000000' || lpad(to_hex(n), 2, '0'))::uuid", uuid.UUID),
    "bytea": ("decode(lpad(to_hex(n), 2, '0'), 'hex')", bytes),
    "text": ("'é ' || lpad(n::text, 3, '0')", str),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_may_be_of_any_kind(postgres_server: PostgresServer, kind: str) -> None:
    """It goes through the JSON of a state as it is."""
    expression, _ = KEYS[kind]
    stream = tm.from_sql(
        f"SELECT {expression} AS k, n FROM generate_series(0, 9) AS n", postgres_server.url, key="k", batch=3
    )
    assert [outcome[1]["n"] for outcome in check_resumes_everywhere(stream.iterate)] == list(range(10))


def count_connections(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_connection_ends_with_its_reader(postgres: str) -> None:
    """Read to the end, closed early, dropped, failed: none is left at the server."""
    stream = tm.from_sql(ALL, postgres, key="id", batch=2)
    assert len(list(stream)) == ROWS
    closed = stream.iterate()
    next(closed)
    assert count_connections(postgres) == 1
    closed.close()
    dropped = stream.iterate()
    next(dropped)
    del dropped
    failing = tm.from_sql("SELECT 1 / (id - 6) AS id FROM items ORDER BY items.id", postgres, batch=2)
    with pytest.raises(ResourceError, match="the rows cannot be fetched: division by zero"):
        list(failing)
    with pytest.raises(ResourceError, match=r"the query fails: relation .*nothing.* does not exist"):
        list(tm.from_sql("SELECT * FROM nothing", postgres))
    assert count_connections(postgres) == 0


def test_rows_stay_with_the_server_until_they_are_fetched(postgres: str) -> None:
    """A query of ten million rows gives its first one at once, and is read in a transaction that cannot write."""
    stream = tm.from_sql("SELECT n AS id FROM generate_series(1, 10000000) AS n", postgres, batch=10)
    assert [record["id"] for record in stream.take(3)] == [1, 2, 3]
    with pytest.raises(ResourceError, match=r"cannot execute .* in a read-only transaction"):
        list(tm.from_sql("SELECT nextval('counter') AS id", postgres))


def test_a_server_that_ends_the_connection(postgres: str) -> None:
    """Told, again and again, and not taken for the end; the state goes on behind the last row."""
    stream = tm.from_sql(ALL, postgres, key="id", batch=5)
    records = stream.iterate()
    first = list(islice(records, 8))
    with psycopg.connect(postgres) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
    first += list(islice(records, 2))
    for _ in range(2):
        with pytest.raises(ResourceError, match="the rows cannot be fetched: "):
            next(records)
    state = through_json(records.state())
    records.close()
    assert first + list(stream.iterate(state)) == rows()


@pytest.mark.parametrize(
    ("sql", "key", "message"),
    [
        ("SELECT id, shop FROM items", "shop", "row 1 of those fetched has `shop` .* again: no key to go on from"),
        ("SELECT CASE id WHEN 0 THEN NULL ELSE id END AS id FROM items", "id", "row 0 .* has no value in `id`"),
        ("SELECT id, name AS id FROM items", None, "the query gives two columns `id`"),
        ("SELECT id FROM items WHERE id = ?", None, "the query fails: Incorrect number of bindings"),
    ],
)
def test_queries_that_cannot_be_gone_through(sqlite: Path, sql: str, key: str | None, message: str) -> None:
    """The run's failure, not a record's, so that no policy passes over the rest."""
    stream = tm.from_sql(sql, f"sqlite:///{sqlite}", key=key)
    with pytest.raises((ConfigError, DataError, ResourceError), match=message) as caught:
        list(stream)
    assert caught.value.of == "run"
    found = outcomes(stream.iterate(), 3) if key else []
    assert len(found) in (0, 3)


@pytest.mark.parametrize(("wrong", "message"), [("8", "has `id` 8 again"), ("NULL", "has no value in `id`")])
@pytest.mark.parametrize("is_one_part", [False, True])
def test_a_key_that_is_none_stops_a_run_which_goes_on_once_it_is_mended(
    wrong: str, message: str, is_one_part: bool, tmp_path: Path
) -> None:
    """Told once, and no record's failure: nothing is quarantined, and every row lands."""
    path = tmp_path / "loose.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE items (id INTEGER, name TEXT)")
        connection.executemany("INSERT INTO items VALUES (?, ?)", [(n, f"n{n}") for n in range(60)])
        connection.execute(f"UPDATE items SET id = {wrong} WHERE id = 9")
    connect = {"database": str(path), "check_same_thread": False}  # by a function: a check does not look there
    stream = tm.from_sql("SELECT * FROM items", sqlite3.connect, arguments=connect, key="id", batch=4)
    piped = stream.dedupe("name") if is_one_part else stream
    for _ in range(2):
        stopped = piped.write(tmp_path / "out", progress=False)
        assert (stopped.outcome, stopped.exit_code, stopped.records["quarantined"]) == ("failed", 3, 0)
        assert stopped.reason.count(message) == 1
    with pytest.raises(DataError, match=message):
        piped.preview(60)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE items SET id = 9 WHERE name = 'n9'")
    finished = piped.write(tmp_path / "out", progress=False)
    assert (finished.outcome, finished.records["landed"]) == ("finished", 60)
    assert [record["id"] for record in tm.dataset(tmp_path / "out")] == list(range(60))


@pytest.fixture(params=["sqlite", "sqlite adbc", "postgres"])
def keyless(request: pytest.FixtureRequest) -> Options:
    """How to connect to a database with a table `keyless`, which has two rows without an `id`."""
    kind = request.param.partition(" ")[0]
    at = request.getfixturevalue("sqlite") if kind == "sqlite" else request.getfixturevalue("postgres_server").url
    connection = sqlite3.connect(at) if kind == "sqlite" else psycopg.connect(at)
    with closing(connection), connection:
        connection.execute("DROP TABLE IF EXISTS keyless")
        connection.execute("CREATE TABLE keyless (shop INTEGER, id INTEGER)")
        connection.execute("INSERT INTO keyless VALUES (0, 0), (0, 1), (0, NULL), (1, NULL), (1, 3), (1, 4), (1, 5)")
    return WAYS[request.param](at)


KEYLESS = "SELECT * FROM keyless WHERE 'n%' LIKE 'n%'"
LOST = "2 rows have no value in `id`: no key to go on from"


def test_rows_without_a_key_are_in_no_part(keyless: Options, tmp_path: Path) -> None:
    """Neither in that of small values nor of great ones: each part tells it, and a run stops."""
    stream = tm.from_sql(KEYLESS, key="id", splits=[2, 4], **keyless)
    for part in stream.source.parts():
        with pytest.raises(DataError, match=LOST) as caught:
            stream.source.open_part(part)
        assert caught.value.of == "run"
    if isinstance(keyless["connect"], str):  # of an address: a check has no look at a function's rows
        return
    report = stream.write(tmp_path / "out", progress=False)
    assert (report.outcome, report.exit_code, report.records["landed"]) == ("failed", 3, 0)
    assert LOST in report.reason


@pytest.mark.parametrize(
    ("key", "state", "message"),
    [
        ("id", {"count": 1, "key": [5]}, LOST),
        (["shop", "id"], {"count": 1, "key": [1, 3]}, "1 row has no value in `shop`, `id`"),
        (["shop", "id"], {"count": 1, "key": [0, 1]}, "1 row has no value in `shop`, `id`"),
    ],
)
def test_rows_without_a_key_are_behind_none(keyless: Options, key: Any, state: Any, message: str) -> None:
    """A database that puts them last would have given them there; a run that had ended goes on, to tell it."""
    source = SQL(sql=KEYLESS, key=key, **keyless)
    with pytest.raises(DataError, match=message):
        source.open_part("rows", state)
    assert source.compare_part("rows", state) == "grown"


def test_rows_without_a_second_key_in_front_are_no_matter(keyless: Options) -> None:
    """Those behind are met as they are read."""
    sql = "SELECT * FROM keyless WHERE shop = 1 OR id IS NOT NULL"
    source = SQL(sql=f"SELECT shop + 1 AS shop, id FROM ({sql}) AS found", key=("shop", "id"), **keyless)
    with pytest.raises(DataError, match=r"row . of those fetched has no value in `shop`, `id`"):
        list(source.open_part("rows", {"count": 1, "key": [1, 0]}))
    later = SQL(sql="SELECT id AS shop, shop AS id FROM keyless WHERE id > 2", key=("shop", "id"), **keyless)
    assert [row["shop"] for row in later.open_part("rows", {"count": 1, "key": [3, 1]})] == [4, 5]


NAMES = ("ann", "Ann", "bob", "Bob", "cy", "Cy")


def test_keys_that_only_the_database_takes_for_one_stop_a_run(tmp_path: Path) -> None:
    """Python tells `ann` from `Ann`; what goes on behind one by the database's collation would pass over the other."""
    path = tmp_path / "loose.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE people (name TEXT COLLATE NOCASE, n INTEGER)")
        connection.executemany("INSERT INTO people VALUES (?, ?)", [(name, n) for n, name in enumerate(NAMES)])
    stream = tm.from_sql("SELECT * FROM people", f"sqlite:///{path}", key="name")
    assert stream.write(tmp_path / "out", limit=1, progress=False).outcome == "limit"
    for _ in range(2):
        stopped = stream.write(tmp_path / "out", progress=False)
        assert (stopped.outcome, stopped.records["landed"]) == ("failed", 1)
        assert "the database finds 2 rows whose `name` is 'ann', the last one read" in stopped.reason
    reading = stream.iterate()
    next(reading)
    state = through_json(reading.state())
    reading.close()
    again = stream.iterate(state)
    for _ in range(2):
        with pytest.raises(DataError, match="finds 2 rows whose `name` is 'ann'"):
            next(again)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE people SET name = name || n WHERE n % 2")
    assert stream.write(tmp_path / "out", progress=False).outcome == "finished"
    assert [record["n"] for record in tm.dataset(tmp_path / "out")] == list(range(6))
    both = tm.from_sql("SELECT * FROM people", f"sqlite:///{path}", key=["name", "n"], batch=2)
    assert len(check_resumes_everywhere(both.iterate)) == len(NAMES)


def test_keys_that_are_no_number_twice(postgres: str) -> None:
    """To PostgreSQL `NaN` is `NaN`, and greater than all else."""
    numbers = "SELECT n AS at, CASE WHEN n < 2 THEN n::float8 ELSE 'NaN' END AS k FROM generate_series(0, {}) AS n"
    twice = tm.from_sql(numbers.format(3), postgres, key="k")
    reading = twice.iterate()
    assert [record["at"] for record in islice(reading, 2)] == [0, 1]
    assert next(reading)["at"] in (2, 3)
    state = through_json(reading.state())
    reading.close()
    with pytest.raises(DataError, match="finds 2 rows whose `k` is nan"):
        next(twice.iterate(state))
    once = SQL(sql=numbers.format(2), connect=postgres, key="k")
    assert list(once.open_part("rows", state["source"])) == []


def connect_with_rounding(path: Path, digits: int) -> sqlite3.Connection:
    """A connection whose numbers come rounded, as some drivers give theirs."""
    connection = sqlite3.connect(path)
    connection.row_factory = lambda cursor, row: tuple(
        round(each, digits) if isinstance(each, float) else each for each in row
    )
    return connection


@pytest.mark.parametrize(
    ("values", "message"), [((1.27, 1.29, 1.5), "not what the database compares"), ((1.22, 1.5), "1.2 again")]
)
def test_a_key_that_a_driver_rounds_stops_a_run(values: tuple[float, ...], message: str, tmp_path: Path) -> None:
    """Upwards a row behind it would be lost, downwards one comes again; one that was taken out is no matter."""
    path = tmp_path / "rounded.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE items (k REAL)")
        connection.executemany("INSERT INTO items VALUES (?)", [(each,) for each in values])
    arguments = {"path": path, "digits": 1}
    source = SQL(sql="SELECT * FROM items", connect=connect_with_rounding, arguments=arguments, key="k", batch=1)
    with closing(source.open_part("rows")) as reader:
        next(reader)
        state = through_json(reader.state())
    with pytest.raises(DataError, match=message):
        list(source.open_part("rows", state))
    assert [row["k"] for row in source.open_part("rows", {"count": 1, "key": [1.4]})] == [1.5]


def test_a_key_that_comes_back_as_another_text_stops_a_run(tmp_path: Path) -> None:
    """A time that is kept as text with a `T`, given as Python's, and sent back with a space gives its day again."""
    path = tmp_path / "times.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE items (at text)")
        times = [(f"2026-01-0{n // 3 + 1}T0{n % 3}:00:00",) for n in range(9)]
        connection.executemany("INSERT INTO items VALUES (?)", times)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path)
        connection.row_factory = lambda cursor, row: (
            datetime.datetime.fromisoformat(row[0]) if isinstance(row[0], str) else row[0],
            *row[1:],
        )
        return connection

    source = SQL(sql="SELECT * FROM items", connect=connect, key="at")
    with closing(source.open_part("rows")) as reader:
        list(islice(reader, 5))
        state = through_json(reader.state())
    with pytest.raises(DataError, match=r"comes behind .*: what the driver gives is not what is compared"):
        list(source.open_part("rows", state))


@pytest.mark.parametrize("splits", [["s", "f"], ["a", "B"]])
def test_splits_of_text_that_do_not_ascend_to_the_database(splits: list[str], sqlite: Path) -> None:
    """Rows between them would come twice; an order that is not the database's cannot be told without it."""
    stream = tm.from_sql(ALL, f"sqlite:///{sqlite}", key="name", splits=splits)
    between = splits == ["s", "f"]  # where there are rows
    with pytest.raises(DataError, match="the splits 's' and 'f' do not ascend") if between else nullcontext():
        assert len(list(stream)) == ROWS


def test_a_query_that_gives_less_than_its_state(sqlite: Path) -> None:
    stream = tm.from_sql("SELECT id FROM items ORDER BY id", f"sqlite:///{sqlite}")
    records = stream.iterate()
    list(islice(records, 10))
    state = records.state()
    records.close()
    with closing(sqlite3.connect(sqlite)) as connection, connection:
        connection.execute("DELETE FROM items WHERE id > 10")
    with pytest.raises(StateError, match=r"behind row 10, but the query gives 6\n.*give it a `key`"):
        next(stream.iterate(state))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connect": "sqlit:///a.db"}, "got one of `sqlit://`; did you mean `sqlite`"),
        ({"connect": "a.db"}, "expected an address of `sqlite://`, `postgresql://` or the import path"),
        ({"connect": "sqlite3:conect"}, "`sqlite3` has no `conect`; did you mean `sqlite3:connect`"),
        ({"connect": 7}, "expected an address, a function that connects or its import path, got 7"),
        ({"connect": "sqlite:///a.db", "splits": [1]}, "splits need a `key`"),
        (
            {"connect": "sqlite:///a.db", "key": "id", "splits": [1, 9, 5]},
            "expected splits that ascend, got 9 before 5",
        ),
        ({"connect": "sqlite:///a.db", "batch": 0}, "`batch`: expected"),
    ],
)
def test_options_that_are_wrong(options: Options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tm.from_sql("SELECT 1", **options)


def test_what_cannot_be_connected_to(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="there is no such file"):
        list(tm.from_sql("SELECT 1", f"sqlite:///{tmp_path}/gone.db"))
    with pytest.raises(ResourceError, match="the database cannot be connected to: ") as caught:
        list(tm.from_sql("SELECT 1", "postgresql://me:hush-hush@127.0.0.1:1/x?connect_timeout=2"))
    assert "hush-hush" not in str(caught.value)


async def connect_later() -> None:
    """As drivers of asyncio do."""


@pytest.mark.parametrize(
    ("connect", "kind"), [(lambda: None, "None"), (connect_later, "a coroutine"), (dict, "a dict")]
)
def test_a_function_that_gives_no_connection(connect: Any, kind: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"expected a function that gives a connection of PEP 249, got {kind} from it"
    ):
        list(tm.from_sql("SELECT 1", connect))


def test_a_source_is_equal_pickles_and_shows_no_secrets(sqlite: Path) -> None:
    source = SQL(sql=ALL, connect="postgresql://me:hush-hush@db.example/shop", arguments={"password": "sesame-open"})
    assert "hush-hush" not in repr(source) + str(source.describe()) + source.show()
    assert "sesame-open" not in repr(source) + str(source.describe())
    stream = tm.from_sql(ALL, f"sqlite:///{sqlite}", key="id")
    carried = pickle.loads(pickle.dumps(stream))
    assert carried == stream
    assert list(carried) == rows()
    assert stream != tm.from_sql(ALL, f"sqlite:///{sqlite}")


MODULE = """
import os, signal, sqlite3
from pathlib import Path

HERE = Path(__file__).parent

def connect(database):
    connection = sqlite3.connect(HERE / database, check_same_thread=False)
    connection.set_trace_callback(lambda sql: (HERE / "asked.txt").open("a").write(" ".join(sql.split()) + "\\n"))
    return connection

def twice(record):
    if record["id"] == {at} and not (HERE / "killed").exists():
        (HERE / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {{**record, "twice": record["id"] * 2}}
"""

JOB = """
source: {{sql: "SELECT id, name FROM many", connect: "{connect}", {more} key: id, batch: 10}}
steps:
  - map: shop_steps:twice
sink: {{path: out, segment: {{records: 100}}}}
"""


@pytest.fixture
def large(postgres: str, tmp_path: Path) -> dict[str, tuple[str, str]]:
    """How a job file connects to databases with a table of 1,000 rows."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE many (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO many VALUES (?, ?)", [(n, f"n{n}") for n in range(1_000)])
    return {"sqlite": ("shop_steps:connect", "arguments: {database: shop.db},"), "postgres": (postgres, "")}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_job_that_is_killed_goes_on_behind_its_key(
    kind: str, large: dict[str, tuple[str, str]], tidemill_command: Command, tmp_path: Path
) -> None:
    """Each row lands once, and none that was sealed is read again."""
    connect, more = large[kind]
    (tmp_path / "shop_steps.py").write_text(MODULE.format(at=555))
    (tmp_path / "job.yaml").write_text(JOB.format(connect=connect, more=more))
    assert tidemill_command("check", "job.yaml", "--no-estimate").code == 0
    assert tidemill_command("run", "job.yaml").code == -9
    done = tidemill_command("run", "job.yaml")
    assert done.code == 0, done.err
    assert [record["id"] for record in tm.dataset(tmp_path / "out")] == list(range(1_000))
    if kind == "sqlite":
        asked = (tmp_path / "asked.txt").read_text().splitlines()
        resumed = re.search(r"WHERE id > (\d+) ORDER BY id$", asked[-1])
        assert resumed
        assert 100 <= int(resumed.group(1)) < 555


def test_a_job_file_and_the_chain_are_one_job(sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written out and read back; what is wrong is told at its place."""
    monkeypatch.chdir(tmp_path)
    text = f'source: {{sql: "{ALL}", connect: "sqlite:///shop.db", key: id}}\nsteps: []\nsink: {{path: out}}\n'
    (tmp_path / "job.yaml").write_text(text)
    job = tm.load_job("job.yaml")
    assert list(job.iterate()) == rows()
    assert job.spec.source.describe() == tm.from_sql(ALL, "sqlite:///shop.db", key="id").source.describe()
    (tmp_path / "again.yaml").write_text(job.to_yaml())
    assert tm.load_job("again.yaml").fingerprint == job.fingerprint
    (tmp_path / "job.yaml").write_text(text.replace("sqlite:///shop.db", "postgresql://me:hush-hush@db.example/shop"))
    assert "postgresql://me@db.example/shop" in tm.load_job("job.yaml").to_yaml()
    (tmp_path / "job.yaml").write_text(text.replace("connect", "conect"))
    with pytest.raises(ConfigError, match=r"job\.yaml:1:\d+  unknown key `conect`; did you mean `connect`"):
        tm.load_job("job.yaml")
