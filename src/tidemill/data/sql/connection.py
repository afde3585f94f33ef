"""Connections to databases, as PEP 249 has them: opened, told apart by their driver, and closed."""

from __future__ import annotations

import contextlib
import inspect
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from tidemill.config.secrets import register_secret, say_cause
from tidemill.config.wording.suggest import suggest
from tidemill.config.wording.words import name_class
from tidemill.errors import ConfigError, ResourceError, TidemillError
from tidemill.packages import missing_package

Marks = Literal["qmark", "numeric", "named", "format", "pyformat", "dollar"]
"""How a driver marks parameters: the styles of PEP 249, and `dollar`, PostgreSQL's own `$1`."""

SCHEMES = ("sqlite", "postgresql", "postgres")
"""Of addresses that need no function to connect by."""

_SERVER_SIDE = ("psycopg", "psycopg2")
"""Drivers whose named cursors the server holds; another's plain cursor gives what that gives."""

Connect = Callable[..., Any]

_STEPS = 10_000
"""Steps of SQLite's machine between two looks at the clock: some tens of microseconds."""


class LateQueryError(ResourceError):
    """A query took longer than it was to, and was ended."""


def check_address(text: str) -> str:
    """An address as it was given, its password kept from being shown.

    Raises:
        ConfigError: it is none of a database that is known.
    """
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES or "://" not in text:
        known = ", ".join(f"`{scheme}://`" for scheme in SCHEMES[:2])
        hint = suggest(parts.scheme, SCHEMES) if "://" in text else ""
        raise ConfigError(
            f"expected an address of {known} or a function that connects, got one of `{parts.scheme}://`"
            if "://" in text
            else f"expected an address of {known} or the import path of a function that connects, got `{text}`",
            hint=hint or "another database's driver connects by a function: `module:connect`",
        )
    if parts.password:
        register_secret(parts.password)
        register_secret(unquote(parts.password))
    return text


def show_address(text: str) -> str:
    """An address without its password and what stands behind a question mark."""
    parts = urlsplit(text)
    user, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"


def find_address(text: str) -> str:
    """An address without who uses it: where it is."""
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def open_connection(connect: Connect | str, arguments: Mapping[str, Any], folder: Path | None) -> Any:
    """A connection that reads; of an address, in a transaction that can do nothing else.

    Raises:
        ResourceError: there is none, or the driver that an address needs is not installed.
        ConfigError: a function gave something else.
    """
    with explaining("the database cannot be connected to"):
        if callable(connect):
            return _check_connection(connect(**arguments))
        if is_file(connect):
            return _open_sqlite(connect, arguments, folder)
        return _open_postgres(connect, arguments)


def open_cursor(connection: Any) -> Any:
    """A cursor whose rows stay at the server until they are fetched, where the driver has one."""
    if _driver(connection) not in _SERVER_SIDE:
        return connection.cursor()
    if getattr(connection, "autocommit", False):
        connection.autocommit = False  # such a cursor lives as long as its transaction
    return connection.cursor("tidemill")


def is_adbc(connection: Any) -> bool:
    """Whether it gives its rows as Arrow (ADBC)."""
    return _driver(connection) == "adbc_driver_manager"


def find_marks(connection: Any) -> Marks | None:
    """How its driver marks parameters; None where nothing tells."""
    if is_adbc(connection) and "postgres" in str(connection.adbc_get_info().get("vendor_name", "")).lower():
        return "dollar"  # the driver hands the text on as it is
    name = type(connection).__module__
    while name:
        style: Marks | None = getattr(sys.modules.get(name), "paramstyle", None)
        if style is not None:
            return style
        name = name.rpartition(".")[0]
    return None


def close_connection(connection: Any, cursor: Any = None) -> None:
    """Close both; what is lost with a connection that is broken already is nothing of ours."""
    for each in (cursor, connection):
        if each is not None:
            with contextlib.suppress(Exception):
                each.close()


def is_file(connect: Connect | str) -> bool:
    """Whether it is the address of a file of this machine, which is read in this process."""
    return isinstance(connect, str) and connect.startswith("sqlite://")


def end_late(connection: sqlite3.Connection, seconds: float) -> None:
    """Have its queries end with a `LateQueryError` once so many seconds have passed."""
    ends_at = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS)


@contextlib.contextmanager
def explaining(message: str) -> Iterator[None]:
    """What a driver raises becomes a `ResourceError` that begins with `message`."""
    try:
        yield
    except TidemillError:
        raise
    except Exception as error:
        text = say_cause(error)
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise LateQueryError(f"{message}: {text}") from error
        hint = ""
        if "check_same_thread" in text or "same thread" in text:
            hint = "connect with `check_same_thread=False`, or by an address: `sqlite:///file.db`"
        raise ResourceError(f"{message}: {text}", hint=hint) from error


def _check_connection(given: Any) -> Any:
    if callable(getattr(given, "cursor", None)):
        return given
    if inspect.iscoroutine(given):
        given.close()  # which would warn that nothing awaited it
    got = "None" if given is None else name_class(given)
    raise ConfigError(
        f"expected a function that gives a connection of PEP 249, got {got} from it",
        hint="return what the driver's `connect` gives, or SQLAlchemy's `engine.raw_connection()`",
    )


def _driver(connection: Any) -> str:
    return type(connection).__module__.partition(".")[0]


def _open_sqlite(address: str, arguments: Mapping[str, Any], folder: Path | None) -> Any:
    path = Path(unquote(address.removeprefix("sqlite://").removeprefix("/")) or ":memory:").expanduser()
    path = (folder or Path.cwd()) / path
    if not path.is_file():
        raise ResourceError("there is no such file", where=str(path), hint="`sqlite:////data/a.db` is an absolute path")
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False, **arguments)


def _open_postgres(address: str, arguments: Mapping[str, Any]) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise missing_package("a PostgreSQL address", "psycopg", "postgres", error) from error
    connection = psycopg.connect(address, **arguments)
    connection.read_only = True
    return connection
