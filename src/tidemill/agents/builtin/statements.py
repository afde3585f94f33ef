"""SQL as far as a guard must read it: how many statements a text has, and what the first one does. Pure."""

from __future__ import annotations

import re
from typing import Final

from tidemill.agents.tools.refusal import RefusalError

_TOKEN: Final = re.compile(
    r"""
      (?P<comment>--[^\n\r]*|/\*)
    | (?P<dollar>\$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$)
    | (?P<quote>[eE]?'|"|`|\[)
    | (?P<end>;)
    | (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*)
    | (?P<number>[0-9][A-Za-z0-9_$\u0080-\U0010ffff]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSING: Final = {"[": "]"}


def check_single(sql: str, *, is_postgres: bool) -> tuple[str, str]:
    """The statement without what follows its end, and its first word in lower case.

    What is in quotes, in dollar quotes and in comments is passed over as PostgreSQL and SQLite do; what is opened and
    not closed is refused, so that no reader can see its end elsewhere.

    Raises:
        RefusalError: it is none, or more than one.

    >>> check_single("SELECT ';' -- one; only", is_postgres=False)[1]
    'select'
    """
    at, stop, first = 0, -1, ""
    while match := _TOKEN.match(sql, at):
        at, kind, text = match.end(), match.lastgroup, match.group()
        if kind == "other" and text.isspace():
            continue
        if kind == "comment":
            at = _after_comment(sql, text, at, nests=is_postgres)
            continue
        if kind == "end":
            stop = match.start() if stop < 0 else stop
            continue
        if stop >= 0:
            raise RefusalError("there is more than one statement", hint="send them one at a time")
        if kind == "dollar" and is_postgres:
            at = _after(sql, text, at)
        elif kind == "quote" and (text != "[" or not is_postgres) and (text != "`" or not is_postgres):
            at = _after_quote(sql, text, at)
        elif kind == "number" and "$" in text:  # versions of PostgreSQL differ in where the number ends
            raise RefusalError(f"`{text[:40]}` is no number", hint="put a blank before the `$`")
        elif kind == "word" and not first:
            first = text.lower()
    if not first:
        raise RefusalError("there is no statement")
    return sql[: len(sql) if stop < 0 else stop], first


def _after(sql: str, mark: str, at: int) -> int:
    found = sql.find(mark, at)
    if found < 0:
        raise RefusalError(f"`{mark}` is opened and not closed")
    return found + len(mark)


def _after_comment(sql: str, mark: str, at: int, *, nests: bool) -> int:
    """Where a comment ends; in PostgreSQL those of `/*` stand within each other."""
    if mark.startswith("--"):
        return at
    depth = 1
    while depth:
        close, opened = sql.find("*/", at), sql.find("/*", at)
        if close < 0:
            raise RefusalError("`/*` is opened and not closed")
        if nests and 0 <= opened < close:
            depth, at = depth + 1, opened + 2
        else:
            depth, at = depth - 1, close + 2
    return at


def _after_quote(sql: str, mark: str, at: int) -> int:
    r"""Where a quoted text or name ends; a quote given twice is one within it, as is one behind `\\` in `E'…'`."""
    closing = _CLOSING.get(mark, mark[-1])
    while True:
        found = _after(sql, closing, at) - 1
        if mark[0] in "eE" and (found - at - len(sql[at:found].rstrip("\\"))) % 2:
            at = found + 1
        elif closing != "]" and sql.startswith(closing, found + 1):
            at = found + 2
        else:
            return found + 1
