"""The ledger: one SQLite file with what is committed and not yet sealed.

One exclusive connection, which is also the run's lock: a second opener is refused at once, and SIGKILL frees it.
Rows of replies come in frames (a commit group's rows, one line each) under an integer sequence; nothing is looked
up while running. A frame goes when the last record it speaks of is sealed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tidemill.disk import Disk
from tidemill.errors import ResourceError, StateError
from tidemill.jobs.records.chunk import PartPosition

FORMAT = 2

DISK_HINT = "make room on the disk (or mend it) and run again: everything committed is kept"

# A commit group is one statement, an INSERT into the view `grouped`: each statement gives up the interpreter lock, and
# a busy loop is slow to yield it (measured: half the context switches of four statements).
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE frames (number INTEGER PRIMARY KEY, pass INTEGER NOT NULL, last INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE parts (name TEXT PRIMARY KEY, turn INTEGER NOT NULL, ordinal INTEGER NOT NULL, state BLOB,
                    skip INTEGER NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (number INTEGER PRIMARY KEY, info BLOB NOT NULL);
CREATE VIEW grouped AS SELECT pass, last, body, '' AS meta FROM frames;
CREATE TRIGGER keep_group INSTEAD OF INSERT ON grouped BEGIN
    INSERT INTO frames (pass, last, body) SELECT NEW.pass, NEW.last, NEW.body WHERE length(NEW.body) > 0;
    INSERT OR REPLACE INTO meta (key, value)
        SELECT key, CASE WHEN type IN ('object', 'array') THEN value ELSE json_quote(value) END
        FROM json_each(NEW.meta);
END;
"""


@dataclass(frozen=True, slots=True)
class SealRecord:
    """What one ledger transaction makes true when a segment is sealed."""

    number: int
    info: Mapping[str, Any]
    updated_segments: Mapping[int, Mapping[str, Any]]
    positions: Sequence[PartPosition]
    meta: Mapping[str, Any]
    run_pass: int
    sealed: int


class Ledger:
    """The open ledger of one run. Use from one thread at a time; `open_ledger` makes and closes it.

    Raises (all methods that write): ResourceError, with the next step, when the disk is full or fails.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, disk: Disk) -> None:
        self._connection = connection
        self._path = path
        self._disk = disk

    def load_meta(self, key: str, default: Any = None) -> Any:
        """The JSON value under `key`."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else orjson.loads(row[0])

    def save_meta(self, values: Mapping[str, Any]) -> None:
        """Commit JSON values under their keys."""
        with self._transaction():
            self._put_meta(values)

    def load_parts(self) -> list[PartPosition]:
        """Every part known, in reading order."""
        rows = self._connection.execute("SELECT name, turn, ordinal, state, skip, done FROM parts ORDER BY turn")
        return [
            PartPosition(name, turn, ordinal, orjson.loads(state) if state else None, skip, bool(done))
            for name, turn, ordinal, state, skip, done in rows
        ]

    def save_parts(self, positions: Sequence[PartPosition]) -> None:
        """Commit where parts stand."""
        with self._transaction():
            self._put_parts(positions)

    def load_segments(self) -> list[dict[str, Any]]:
        """What is known of each sealed segment, in sealing order."""
        rows = self._connection.execute("SELECT info FROM segments ORDER BY number")
        return [orjson.loads(info) for (info,) in rows]

    def iter_frames(self, run_pass: int | None = None) -> Iterator[bytes]:
        """The rows committed and not sealed, a frame at a time, of one pass or of all."""
        query = "SELECT body FROM frames WHERE :pass IS NULL OR pass = :pass ORDER BY number"
        for (body,) in self._connection.execute(query, {"pass": run_pass}):
            yield body

    def append(self, run_pass: int, last: int, body: bytes, meta: Mapping[str, Any]) -> None:
        """Commit one group: a frame whose youngest record is `last` (none when `body` is empty), and `meta`."""
        group = (run_pass, last, body, orjson.dumps(meta).decode())
        insert = "INSERT INTO grouped (pass, last, body, meta) VALUES (?, ?, ?, ?)"
        with explaining_disk():
            self._disk.perform("commit", self._path, lambda: self._connection.execute(insert, group))

    def seal(self, record: SealRecord) -> None:
        """Commit a segment: its names, the positions, and the end of the rows it sealed."""
        with self._transaction():
            put = "INSERT OR REPLACE INTO segments (number, info) VALUES (?, ?)"
            self._connection.execute(put, (record.number, orjson.dumps(record.info)))
            for number, info in record.updated_segments.items():
                self._connection.execute(put, (number, orjson.dumps(info)))
            self._put_parts(record.positions)
            self._put_meta(record.meta)
            self._connection.execute("DELETE FROM frames WHERE pass = ? AND last < ?", (record.run_pass, record.sealed))

    def clear(self) -> None:
        """Commit that nothing is known: a new run may begin under the lock of the old one."""
        with self._transaction():
            for table in ("meta", "frames", "parts", "segments"):
                self._connection.execute(f"DELETE FROM {table}")

    def _put_meta(self, values: Mapping[str, Any]) -> None:
        rows = [(key, orjson.dumps(value)) for key, value in values.items()]
        self._connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows)

    def _put_parts(self, positions: Sequence[PartPosition]) -> None:
        rows = [
            (p.name, p.turn, p.ordinal, orjson.dumps(p.state) if p.state is not None else None, p.skip, p.done)
            for p in positions
        ]
        self._connection.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with explaining_disk():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._disk.commit(self._connection, self._path)
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.rollback()
                raise


@contextlib.contextmanager
def open_ledger(path: Path, disk: Disk) -> Iterator[Ledger]:
    """The ledger at `path`, made when it is not there, locked for this process alone.

    Raises:
        StateError: another process runs on it, or it is of another format.
        ResourceError: the file cannot be opened or made, or is no ledger.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    except sqlite3.Error as exc:
        raise ResourceError(f"the ledger cannot be opened: {exc}", where=str(path)) from exc
    with contextlib.closing(connection):
        _take_lock(connection, path)
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            with explaining_disk():
                _create(connection, path, disk)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            raise StateError(
                f"expected a ledger of format {FORMAT}, got {version}",
                where=str(path),
                hint="go on with the Tidemill version that wrote it, or write to another folder",
            )
        yield Ledger(connection, path, disk)


def _take_lock(connection: sqlite3.Connection, path: Path) -> None:
    try:
        # Exclusive before WAL: one connection by construction, no shared-memory file, and the file lock is the
        # run's lock (https://www.sqlite.org/wal.html, "Use of WAL Without Shared-Memory").
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as exc:
        if "locked" in str(exc) or "busy" in str(exc):
            raise StateError(
                "another process is running on this run folder",
                where=str(path.parent),
                hint="wait for it or stop it; `tidemill status` shows what it is doing",
            ) from exc
        raise ResourceError(f"the ledger cannot be opened: {exc}", where=str(path), hint=DISK_HINT) from exc
    except sqlite3.DatabaseError as exc:
        raise ResourceError(f"this is not a ledger: {exc}", where=str(path)) from exc


def _create(connection: sqlite3.Connection, path: Path, disk: Disk) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _split_statements(SCHEMA):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    disk.commit(connection, path)
    disk.sync_folder(path.parent)


def _split_statements(script: str) -> Iterator[str]:
    """Its statements one by one: `executescript` would commit what is open."""
    statement = ""
    for line in script.splitlines():
        statement += f"{line}\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def explain_disk(error: Exception) -> ResourceError:
    """What a failed durable operation means for the user."""
    explained = ResourceError(f"the run cannot be written: {error}", hint=DISK_HINT)
    explained.__cause__ = error
    return explained


@contextlib.contextmanager
def explaining_disk() -> Iterator[None]:
    """A block of durable operations in which a failed one is told as what it means for the user.

    Raises:
        ResourceError: in place of an `OSError` or `sqlite3.Error`.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        raise explain_disk(exc) from exc
