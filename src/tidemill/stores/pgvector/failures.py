"""What psycopg raises, by who can do something about it: the one edge where its errors end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import psycopg_pool

from tidemill.config.secrets import say_cause
from tidemill.data.sql.failures import TRANSIENT, find_state, find_words
from tidemill.errors import CallError, PermanentCallError, TransientCallError

_RECORD: Final = ("22", "23", "54")
"""Those that speak of what was sent: its data, its constraints, its length."""
_TIMEOUT: Final = "57014"
_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|role \".*\" (does not exist|is not permitted)"
    r"|database \".*\" does not exist|certificate|server does not support SSL"
)
"""What the server, or libpq, says of who may connect; a connection that fails has no SQLSTATE."""
_SHOWN: Final = 500


@contextmanager
def mapped_errors(where: str) -> Iterator[None]:
    """What the driver raises within is raised as a `CallError`, which says `where`."""
    failure: CallError
    try:
        yield
        return
    except (psycopg.Error, OSError) as exc:
        failure = _map(exc, where)
    raise failure from None  # outside the handler: the foreign error may hold a user's values


def _map(exc: Exception, where: str) -> CallError:
    text = say_cause(exc, find_words(exc), max_chars=_SHOWN)
    state = find_state(exc)
    if isinstance(exc, (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)):
        hint = "raise `pool.max_size` or `pool.wait_s`, or see whether the server is there"
        return TransientCallError(f"no connection is free: {text}", where=where, hint=hint)
    if state == _TIMEOUT:
        return TransientCallError(f"the statement was ended: {text}", where=where, hint="see `timeout_s`")
    if state.startswith(TRANSIENT):
        return TransientCallError(f"the database did not answer: {text}", where=where)
    if state:
        of = "record" if state.startswith(_RECORD) else "run"
        return PermanentCallError(f"the database refused: {text}", where=where, of=of)  # type: ignore[arg-type] # of two
    if _REFUSED.search(text):
        return PermanentCallError(f"the database refused: {text}", where=where, hint="check the address", of="run")
    if isinstance(exc, (psycopg.OperationalError, OSError)):
        return TransientCallError(f"the database cannot be reached: {text}", where=where)
    return PermanentCallError(f"the driver refused: {text}", where=where, of="run")
