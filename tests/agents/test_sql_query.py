"""`sql_query` and `sql_schema`: SQLite and PostgreSQL, asked and never changed."""

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pg8000.dbapi  # type: ignore[import-untyped]
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import PostgresServer
from tidemill.agents.builtin.databases import Source
from tidemill.agents.builtin.sql_query import SQLLimits, sql_query, sql_schema
from tidemill.agents.builtin.statements import check_single
from tidemill.agents.builtin.tables import Column, Rows, Table
from tidemill.agents.tools.refusal import RefusalError
from tidemill.errors import ConfigError, ResourceError, TransientCallError

USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, pay NUMERIC)"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A SQLite file of 300 users."""
    path = tmp_path / "shop ?#.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(USERS)
        connection.executemany("INSERT INTO users VALUES (?, ?, 1.5)", [(n, f"name {n}") for n in range(1, 301)])
        connection.execute("CREATE VIEW rich AS SELECT name FROM users WHERE pay > 1")
        connection.execute('CREATE TABLE "odd ""name" (x)')
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(body)")
        connection.execute("INSERT INTO words VALUES ('the tide mill')")
        connection.commit()
    return path


def ask(source: Source, sql: str, parameters: Any = (), **limits: Any) -> Rows:
    rows: Rows = sql_query(source, limits=SQLLimits(**limits))(sql=sql, parameters=parameters)
    return rows


@pytest.mark.parametrize(
    ("sql", "parameters", "rows"),
    [
        ("SELECT id, name FROM users WHERE id = ?", [7], [[7, "name 7"]]),
        ("SELECT name FROM users WHERE id = :wanted", {"wanted": 7}, [["name 7"]]),
        ("SELECT name FROM users WHERE name = ?", ["x' OR 1=1; --"], []),
        ("SELECT count(*) FROM rich;", [], [[300]]),
        ("-- all of them;\nSELECT count(*) FROM users -- ; done", [], [[300]]),
        (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3) SELECT x FROM n",
            [],
            [[1], [2], [3]],
        ),
        ("SELECT value FROM json_each('[1, 2]')", [], [[1], [2]]),
        ("SELECT body FROM words WHERE words MATCH 'tide'", [], [["the tide mill"]]),
        ("SELECT name FROM pragma_table_info('rich')", [], [["name"]]),
        ("PRAGMA table_info(rich)", [], [[0, "name", "TEXT", 0, None, 0]]),
        ("EXPLAIN QUERY PLAN SELECT 1", [], [[1, 0, 0, "SCAN CONSTANT ROW"]]),
        ("VALUES (1), (2)", [], [[1], [2]]),
    ],
)
def test_sqlite_is_asked(shop: Path, sql: str, parameters: Any, rows: list[Any]) -> None:
    """What is given for the marks is a value, never SQL."""
    found = ask(shop, sql, parameters)
    shown = [row[-1:] for row in found.rows] if sql.startswith("EXPLAIN") else found.rows
    assert (shown, found.is_cut) == ([row[-1:] for row in rows] if sql.startswith("EXPLAIN") else rows, False)


def test_columns_and_types_are_told(shop: Path) -> None:
    found = ask(shop, "SELECT id, name AS who, pay, NULL AS none, x'00ff' AS raw FROM users LIMIT 1")
    kinds = [("id", "integer"), ("who", "text"), ("pay", "real"), ("none", ""), ("raw", "blob")]
    assert found.columns == [Column(*each) for each in kinds]
    assert found.rows == [[1, "name 1", 1.5, None, "x'00ff'"]]


WRITES = [
    "INSERT INTO users VALUES (999, 'x', 1)",
    "UPDATE users SET name = 'x'",
    "DELETE FROM users",
    "WITH x AS (SELECT 1) DELETE FROM users",
    "REPLACE INTO users VALUES (1, 'x', 1)",
    "DROP TABLE users",
    "ALTER TABLE users ADD COLUMN y",
    "CREATE TABLE y (x)",
    "CREATE TEMP TABLE y (x)",
    "CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE v USING fts5(x)",
    "ATTACH DATABASE '{other}' AS other",
    "VACUUM",
    "VACUUM INTO '{other}'",
    "REINDEX",
    "ANALYZE",
    "BEGIN IMMEDIATE",
    "SAVEPOINT s",
    "PRAGMA user_version = 5",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA database_list",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "UPDATE sqlite_master SET sql = 'x'",
    "INSERT INTO words(words) VALUES ('optimize')",
    "SELECT load_extension('{other}')",
    "SELECT writefile('{other}', 'x')",
    "SELECT 1; DELETE FROM users",
    "SELECT 1 /* ; */; DELETE FROM users",
    "SELECT ';' ; DELETE FROM users --",
]


def test_sqlite_is_not_changed(shop: Path) -> None:
    """Neither it nor any other file: the folder holds what it held, byte for byte."""
    other, before = shop.parent / "other.db", shop.read_bytes()
    refused = r"only reading is allowed|more than one|not be modified|not authorized|no such"
    for sql in WRITES:
        with pytest.raises(RefusalError, match=refused):
            ask(shop, sql.format(other=other))
        assert (sql, shop.read_bytes(), os.listdir(shop.parent)) == (sql, before, [shop.name])


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("SELECT * FROM usrs", "no such table: usrs", "did you mean `users`?"),
        ("SELECT nam FROM users", "no such column: nam", "did you mean `name`?"),
        ("SELECT u.nmae FROM users AS u", "no such column: u.nmae", "did you mean `name`?"),
        ("SELECT * FROM zzzz", "no such table: zzzz", "tables: "),
        ("SELEC 1", 'near "SELEC": syntax error', ""),
        ("SELECT ?", "binding", ""),
        ("SELECT 'open", "is opened and not closed", ""),
        ("  ; -- nothing", "there is no statement", ""),
    ],
)
def test_a_wrong_query_is_told_what_is_wrong(shop: Path, sql: str, message: str, hint: str) -> None:
    """It is the model's own mistake, which it can mend by the database's words and the nearest name."""
    with pytest.raises(RefusalError, match=message) as caught:
        ask(shop, sql)
    assert caught.value.hint.startswith(hint)
    assert bool(hint) == bool(caught.value.hint)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        "SELECT count(*) FROM users a, users b, users c, users d, users e",
    ],
)
def test_a_query_that_goes_on_is_stopped(shop: Path, sql: str) -> None:
    with pytest.raises(RefusalError, match=r"took longer than 0\.05 s"):
        ask(shop, sql, timeout_s=0.05)


@pytest.mark.parametrize(
    "sql", ["SELECT randomblob(1000000000)", "SELECT replace(hex(zeroblob(9000000)), '0', '00000')"]
)
def test_a_value_that_fills_memory_is_refused(shop: Path, sql: str) -> None:
    with pytest.raises(RefusalError, match=r"too big|too long"):
        ask(shop, sql)


def test_a_result_is_bounded(shop: Path) -> None:
    """By rows and by bytes, and a value by its length; what is left out is said to be."""
    assert (len(ask(shop, "SELECT * FROM users").rows), ask(shop, "SELECT * FROM users").is_cut) == (100, True)
    exact = ask(shop, "SELECT * FROM users", rows=300)
    assert (len(exact.rows), exact.is_cut) == (300, False)
    by_bytes = ask(shop, "SELECT name FROM users", rows=300, bytes=256)
    assert by_bytes.is_cut
    assert sum(len(row[0]) for row in by_bytes.rows) <= 256
    (long,), (raw,) = ask(shop, "SELECT printf('%.5000c', 'x') UNION ALL SELECT zeroblob(100)").rows
    assert (long[:2000], long[2000:]) == ("x" * 2000, "… (5,000 characters)")
    assert raw == f"x'{'00' * 32}…' (100 bytes)"


def test_a_locked_database_may_be_asked_again(shop: Path) -> None:
    with closing(sqlite3.connect(shop, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TransientCallError, match="locked by whoever writes"):
            ask(shop, "SELECT * FROM users", timeout_s=0.05)
        connection.execute("ROLLBACK")


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is no database, however it is looked at")
    with pytest.raises(ResourceError, match="the database cannot be read: file is not a database"):
        ask(tmp_path / "a.db", "SELECT * FROM x")
    with pytest.raises(ConfigError, match="there is no database"):
        sql_query(tmp_path / "b.db")
    with pytest.raises(ConfigError, match="expected a SQLite file or `postgresql://…`"):
        sql_query("mysql://far/shop")


def test_the_schema_is_told(shop: Path) -> None:
    tables = {table.name: table for table in sql_schema(shop)()}
    assert tables["users"] == Table(
        "users", [Column("id", "INTEGER"), Column("name", "TEXT"), Column("pay", "NUMERIC")]
    )
    assert tables["rich"] == Table("rich", [Column("name", "TEXT")])
    assert tables['odd "name'].columns == [Column("x", "")]
    assert sql_schema(shop)(table="users") == [tables["users"]]
    with pytest.raises(RefusalError, match="there is no table `user`") as caught:
        sql_schema(shop)(table="user")
    assert caught.value.hint == "did you mean `users`?"


# PostgreSQL


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> str:
    """The address of a database with 300 users."""
    url = postgres_server.make_database()
    with psycopg.connect(url) as connection:
        connection.execute(USERS)
        connection.execute("INSERT INTO users SELECT n, 'name ' || n, 1.50 FROM generate_series(1, 300) AS n")
        connection.execute("CREATE SEQUENCE counter")
        connection.execute("CREATE SCHEMA other")
        connection.execute("CREATE VIEW other.rich AS SELECT name FROM users")
    return url


def by_pg8000(url: str) -> Any:
    """A connection by another driver, as PEP 249 has it."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query)["host"][0]
    return pg8000.dbapi.connect("postgres", database=parts.path[1:], unix_sock=f"{folder}/.s.PGSQL.5432")


SOURCES: dict[str, Callable[[str], Source]] = {
    "address": lambda url: url,
    "psycopg": lambda url: lambda: psycopg.connect(url),
    "autocommit": lambda url: lambda: psycopg.connect(url, autocommit=True),
    "pg8000": lambda url: lambda: by_pg8000(url),
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, postgres: str) -> Source:
    return SOURCES[request.param](postgres)


def test_postgres_is_asked(source: Source) -> None:
    assert ask(source, "SELECT name FROM users WHERE id = %s", [7]).rows == [["name 7"]]
    assert ask(source, "SELECT name FROM users WHERE name = %s", ["x' OR 1=1; --"]).rows == []
    assert ask(source, "SELECT count(*) FROM users WHERE name LIKE 'name 1%';").rows == [[111]]
    assert ask(source, "SELECT ';' || $a$;$a$ /* ; /* ; */ ; */ -- ;").rows == [[";;"]]
    assert ask(source, "TABLE other.rich", rows=2).is_cut
    assert "Result" in str(ask(source, "EXPLAIN SELECT 1").rows)
    assert ask(source, "SHOW transaction_read_only").rows == [["on"]]


def test_values_of_postgres_are_told_as_json(source: Source) -> None:
    """Dates, decimals and UUIDs as text, which loses nothing; types as PostgreSQL names them."""
    found = ask(
        source,
        "SELECT 1.50::numeric AS pay, DATE '2024-01-02' AS day, '2024-01-02 03:04:05+00'::timestamptz AS at, "
        "'123e4567-e89b-12d3-a456-426614174111'::uuid AS id, ARRAY[1, 2] AS list, '{\"a\": [1.5]}'::jsonb AS doc, "
        "'\\x6162'::bytea AS raw, 'NaN'::float8 AS nan, NULL AS none, true AS yes, 9007199254740993 AS big",
    )
    assert found.rows[0][0:2] == ["1.50", "2024-01-02"]
    assert found.rows[0][2].startswith("2024-01-02 03:04:05")
    assert found.rows[0][3:6] == ["123e4567-e89b-12d3-a456-426614174111", [1, 2], {"a": [1.5]}]
    assert found.rows[0][6:] == ["x'6162'", "nan", None, True, 9007199254740993]
    assert [(column.name, column.type) for column in found.columns][:3] == [
        ("pay", "numeric"),
        ("day", "date"),
        ("at", "timestamp with time zone"),
    ]


PG_WRITES = [
    "INSERT INTO users VALUES (999, 'x', 1)",
    "UPDATE users SET name = 'x'",
    "DELETE FROM users",
    "TRUNCATE users",
    "DROP TABLE users",
    "CREATE TABLE y (x int)",
    "CREATE TEMP TABLE y (x int)",
    "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM users",
    "SELECT * INTO y FROM users",
    "SELECT * FROM users FOR UPDATE",
    "SELECT nextval('counter')",
    "SELECT setval('counter', 99)",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SET TRANSACTION READ WRITE",
    "COPY users TO PROGRAM 'cat'",
    "DO $$ BEGIN DELETE FROM users; END $$",
    "CALL nothing()",
    "COMMIT",
    "ROLLBACK",
    "LOCK users",
    "SELECT 1; DELETE FROM users",
    "SELECT 1; COMMIT; DELETE FROM users",
    "SELECT 1 -- '\r; COMMIT; DELETE FROM users --'",
    "SELECT '\\'; COMMIT; DELETE FROM users; --'",
    "SELECT $a$ $a$; COMMIT; DELETE FROM users; --$a$",
    "SELECT E'\\''; COMMIT; DELETE FROM users; --'",
    "SELECT /* /* */ */ 1; COMMIT; DELETE FROM users",
    "SELECT 1$$'$$; COMMIT; DELETE FROM users; --'",
    "SELECT 1 AS a$$; COMMIT; DELETE FROM users; --$$",
    "SELECT 1 AS \u20ac$$; COMMIT; DELETE FROM users; --$$",
    "SELECT '\\\\'; COMMIT; DELETE FROM users",
]


@pytest.mark.parametrize("driver", ["psycopg", "autocommit", "pg8000"])
def test_postgres_is_not_changed(postgres: str, driver: str) -> None:
    """However it is dressed up, it is refused; tables, rows and the sequence are what they were."""
    state = "SELECT (SELECT count(*) FROM users), (SELECT min(name) FROM users), (SELECT count(*) FROM pg_class), *"
    read = []
    with psycopg.connect(postgres, autocommit=True) as connection:
        before = connection.execute(f"{state} FROM counter").fetchall()
        for sql in PG_WRITES:
            with contextlib.suppress(RefusalError):
                ask(SOURCES[driver](postgres), sql)
                read.append(sql)
            assert (connection.execute(f"{state} FROM counter").fetchall(), sql) == (before, sql)
    assert read == []


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("SELECT * FROM usrs", '^relation "usrs" does not exist', "did you mean `users`?"),
        ("SELECT nam FROM users", '^column "nam" does not exist', "did you mean `name`?"),
        ("SELECT u.nmae FROM users u", "^column u.nmae does not exist", "did you mean `name`?"),
        ("SELECT 1 +", "^syntax error at end of input", ""),
        ("SELECT 1 / 0", "^division by zero", ""),
        ("SELECT %s::int", "^invalid input syntax for type integer", ""),
    ],
)
def test_a_wrong_query_of_postgres_is_told_what_is_wrong(source: Source, sql: str, message: str, hint: str) -> None:
    """In the server's words alone, whatever the driver makes of them."""
    with pytest.raises(RefusalError, match=message) as caught:
        ask(source, sql, ["x"] if "%s" in sql else [])
    assert caught.value.hint == hint


def test_values_that_do_not_fit_the_marks_are_told(source: Source) -> None:
    with pytest.raises(RefusalError, match=r"%|placeholders|parameters"):
        ask(source, "SELECT 1 %", [1])


def test_a_query_of_postgres_that_goes_on_is_stopped(source: Source) -> None:
    for sql in ("SELECT pg_sleep(100)", "SELECT set_config('statement_timeout', '0', true), pg_sleep(100)"):
        with pytest.raises(RefusalError, match=r"took longer than 0\.2 s"):
            ask(source, sql, timeout_s=0.2)


def test_of_a_huge_result_a_part_is_sent(source: Source) -> None:
    """A cursor has the server send no more rows than are wanted: these would be ten billion."""
    found = ask(
        source, "SELECT a FROM generate_series(1, 100000) a, generate_series(1, 100000) b", rows=3, timeout_s=20
    )
    assert (found.rows, found.is_cut) == ([[1]] * 3, True)


def test_the_schema_of_postgres_is_told(source: Source) -> None:
    assert sql_schema(source)() == [
        Table("other.rich", [Column("name", "text")]),
        Table("users", [Column("id", "integer"), Column("name", "text"), Column("pay", "numeric")]),
    ]


def test_no_connection_is_left(postgres: str) -> None:
    """Each query has one of its own, closed behind it, whatever became of it."""
    opened: list[Any] = []

    def connect() -> Any:
        opened.append(psycopg.connect(postgres))
        return opened[-1]

    ask(connect, "SELECT 1")
    with pytest.raises(RefusalError, match="syntax error"):
        ask(connect, "SELECT 1 +")
    assert [connection.closed for connection in opened] == [True, True]


def test_a_database_that_is_away_may_be_asked_again(tmp_path: Path) -> None:
    """Its password is in no message."""
    url = f"postgresql://me:canary-4711-password@/shop?host={tmp_path}"
    for source in (url, lambda: psycopg.connect(url)):
        with pytest.raises(TransientCallError, match="the database cannot be reached") as caught:
            ask(source, "SELECT 1")
        assert "canary" not in str(caught.value)
    assert "canary" not in str(sql_query(url).identity)


def test_what_cannot_be_held_to_reading_is_not_asked(shop: Path) -> None:
    with pytest.raises(ResourceError, match="none to PostgreSQL that can be held to reading"):
        ask(lambda: sqlite3.connect(shop), "SELECT 1")


@pytest.mark.parametrize(
    ("sql", "is_postgres", "statement", "first"),
    [
        ("select 1;", True, "select 1", "select"),
        (" (SELECT 1) ; ; -- x", True, " (SELECT 1) ", "select"),
        ('SELECT ";" FROM [;] -- ;', False, 'SELECT ";" FROM [;] -- ;', "select"),
        ("SELECT ARRAY[1]; --]", True, "SELECT ARRAY[1]", "select"),
        ("SELECT E'a\\'; b'", True, "SELECT E'a\\'; b'", "select"),
        ("SELECT 'it''s;'", True, "SELECT 'it''s;'", "select"),
        ("SELECT $1, $q$;$q$", True, "SELECT $1, $q$;$q$", "select"),
    ],
)
def test_one_statement_is_told_from_several(sql: str, is_postgres: bool, statement: str, first: str) -> None:
    assert check_single(sql, is_postgres=is_postgres) == (statement, first)


@given(st.text(alphabet="aE1$';\"-/*\\[]`\n\r \u20ac", max_size=30))
def test_any_text_is_read_to_its_end_or_refused(text: str) -> None:
    """The statement is a beginning of the text, with nothing behind it but its end, blanks and comments."""
    for is_postgres in (True, False):
        try:
            statement, first = check_single(text, is_postgres=is_postgres)
        except RefusalError:
            continue
        assert text.startswith(statement)
        assert first


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "sql"),
        ({"sql": ""}, "sql"),
        ({"sql": "SELECT 1", "parameters": 5}, "parameters"),
        ({"sql": "x", "y": 1}, "y"),
    ],
)
def test_arguments_are_checked(shop: Path, arguments: dict[str, Any], problem: str) -> None:
    assert problem in sql_query(shop).signature.check(arguments).render()


def test_an_address_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ResourceError, match="needs the package psycopg, which is not installed") as caught:
        sql_query("postgresql://reader@db.example/mill")
    assert caught.value.hint == 'pip install "tidemill[postgres]"'
