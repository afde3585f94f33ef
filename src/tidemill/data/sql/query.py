"""The text of a query that goes on behind a key, and what is given for its marks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.data.sql.connection import Marks

Params = Sequence[Any] | Mapping[str, Any]

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


class Parameters:
    """What is given for a query's marks, as it is added to; each mark in the driver's own way.

    Args:
        given: what the query's own marks stand for.
        marks: how the driver marks.
    """

    def __init__(self, given: Params, marks: Marks) -> None:
        self._marks = marks
        self._named = dict(given) if isinstance(given, Mapping) else None
        self._listed = [] if isinstance(given, Mapping) else list(given)

    def add(self, value: Any) -> str:
        """The mark that stands for `value`."""
        if self._named is not None:
            name = f"tidemill_{len(self._named)}"
            self._named[name] = value
            return f"%({name})s" if self._marks in ("format", "pyformat") else f":{name}"
        if self._marks == "named":  # whose marks may be numbers' as well
            name = f"tidemill_{len(self._listed)}"
            self._named = {**{str(n): each for n, each in enumerate(self._listed, 1)}, name: value}
            return f":{name}"
        self._listed.append(value)
        number = len(self._listed)
        return {"qmark": "?", "numeric": f":{number}", "dollar": f"${number}"}.get(self._marks, "%s")

    @property
    def values(self) -> Any:
        """All of it, in the form that it was given in."""
        return self._listed if self._named is None else self._named


def write_query(
    sql: str,
    params: Params,
    key: Sequence[str],
    marks: Marks,
    *,
    behind: Sequence[Any] | None = None,
    start: Any = None,
    stop: Any = None,
) -> tuple[str, Any]:
    """A query's rows in the order of its key, and what is given for its marks.

    Args:
        behind: only those whose key is greater than this one.
        start: only those whose first key column is this or greater; None for all.
        stop: only those whose first key column is less; None for all.
    """
    given = Parameters(params, marks)
    names = [quote_name(name) for name in key]
    wanted = []
    if behind is not None:
        left, right = ", ".join(names), ", ".join(given.add(value) for value in behind)
        wanted.append(f"({left}) > ({right})" if len(names) > 1 else f"{left} > {right}")
    if start is not None and behind is None:
        wanted.append(f"{names[0]} >= {given.add(start)}")
    if stop is not None:
        wanted.append(f"{names[0]} < {given.add(stop)}")
    inner = sql.strip().rstrip(";")
    if wanted and not params and marks in ("format", "pyformat"):
        inner = inner.replace("%", "%%")  # which such a driver reads as marks, once anything is given
    where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
    return f"SELECT * FROM (\n{inner}\n) AS tidemill_rows{where} ORDER BY {', '.join(names)}", given.values


def quote_name(name: str) -> str:
    """A column's name as SQL has it: in quotes, where it is not plain.

    >>> quote_name("id"), quote_name("User Id")
    ('id', '"User Id"')
    """
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
