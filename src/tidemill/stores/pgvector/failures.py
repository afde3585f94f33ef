"""What psycopg raises, by who can do something about it: the one edge where its errors end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import psycopg_pool

from tidemill.calls.wire import UnreachableError
from tidemill.config.secrets import say_cause
from tidemill.data.sql.failures import TRANSIENT, find_state, find_words
from tidemill.errors import CallError, FailureOf, PermanentCallError, TransientCallError

_RECORD: Final = ("22", "23", "54")
"""Those that speak of what was sent: its data, its constraints, its length."""
_TIMEOUT: Final = "57014"
_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|role \".*\" (does not exist|is not permitted)"
    r"|database \".*\" does not exist|certificate|server does not support SSL"
)
"""What the server, or libpq, says of who may connect; a connection that fails has no SQLSTATE."""
_ANSWERED = re.compile(r"\bFATAL\b")
"""A server that is there and takes nobody just now: it starts, or has all the connections that it may have."""
_SHOWN: Final = 500


@contextmanager
def mapped_errors(where: str, is_connected: Callable[[], bool]) -> Iterator[None]:
    """What the driver raises within is raised as a `CallError`, which says `where`.

    Args:
        where: the table.
        is_connected: whether a connection had come about when it failed; else nothing was sent.
    """
    failure: CallError
    try:
        yield
        return
    except (psycopg.Error, OSError) as exc:
        failure = _map(exc, where, is_connected=is_connected())
    raise failure from None  # outside the handler: the foreign error may hold a user's values


def _map(exc: Exception, where: str, *, is_connected: bool) -> CallError:
    text = say_cause(exc, find_words(exc), max_chars=_SHOWN)
    state = find_state(exc)
    if state:
        return _map_state(state, text, where)
    if _REFUSED.search(text):
        return PermanentCallError(f"the database refused: {text}", where=where, hint="check the address", of="run")
    if is_connected and isinstance(exc, (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)):
        hint = "raise `pool.max_size` or `pool.wait_s`"
        return TransientCallError(f"no connection is free: {text}", where=where, hint=hint)
    if isinstance(exc, (psycopg.OperationalError, OSError)):
        if is_connected or _ANSWERED.search(text):
            return TransientCallError(f"the database did not answer: {text}", where=where)
        return UnreachableError(f"the database cannot be reached: {text}", where=where)
    return PermanentCallError(f"the driver refused: {text}", where=where, of="run")


def _map_state(state: str, text: str, where: str) -> CallError:
    """What the server says by a SQLSTATE."""
    if state == _TIMEOUT:
        return TransientCallError(f"the statement was ended: {text}", where=where, hint="see `timeout_s`")
    if state.startswith(TRANSIENT):
        return TransientCallError(f"the database did not answer: {text}", where=where)
    of: FailureOf = "record" if state.startswith(_RECORD) else "run"
    return PermanentCallError(f"the database refused: {text}", where=where, of=of)
