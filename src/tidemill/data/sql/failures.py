"""What PostgreSQL says went wrong, whichever driver raised it."""

from __future__ import annotations

from typing import Final

TRANSIENT: Final = ("08", "40", "53", "55", "57")
"""Classes of SQLSTATE that pass: connection, rollback, resources, locks, intervention (PostgreSQL, appendix A)."""


def find_state(error: Exception) -> str:
    """The SQLSTATE: as psycopg, psycopg2 and pg8000 give it; empty where the server said nothing."""
    told = error.args[0] if error.args else None
    found = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return str(found or (told.get("C") if isinstance(told, dict) else "") or "")


def find_words(error: Exception) -> str:
    """What the server says, and its hint, without the statement, whose values may be a user's."""
    told = error.args[0] if error.args else None
    diagnosis = getattr(error, "diag", None)
    if isinstance(told, dict):
        said, hint = told.get("M"), told.get("H")
    else:
        said, hint = (getattr(diagnosis, name, None) for name in ("message_primary", "message_hint"))
    return f"{said}. {hint}" if said and hint else str(said or error)
