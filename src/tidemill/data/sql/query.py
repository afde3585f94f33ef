"""The text of a query that goes on behind a key, and what is given for its marks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class KeyedQuery:
    """A query whose rows come in the order of a key: what is sent for them, each text with what its marks stand for.

    Attributes:
        sql: the query, as its user wrote it.
        params: what its own marks stand for.
        key: the columns.
        marks: how the driver marks.
    """

    sql: str
    params: Params
    key: tuple[str, ...]
    marks: Marks

    def write_rows(
        self, *, behind: Sequence[Any] | None = None, start: Any = None, stop: Any = None
    ) -> tuple[str, Params]:
        """The rows, in the order of their key.

        Args:
            behind: only those whose key is greater than this one.
            start: only those whose first key column is this or greater; None for all.
            stop: only those whose first key column is less; None for all.
        """
        given, names = self._begin()
        wanted = []
        if behind is not None:
            wanted.append(_compare(names, ">", behind, given))
        if start is not None and behind is None:
            wanted.append(f"{names[0]} >= {given.add(start)}")
        if stop is not None:
            wanted.append(f"{names[0]} < {given.add(stop)}")
        return self._write("*", " AND ".join(wanted), given, f" ORDER BY {', '.join(names)}")

    def write_rows_before(self, key: Sequence[Any]) -> tuple[str, Params]:
        """Those whose key is less than this one, the greatest first."""
        given, names = self._begin()
        order = ", ".join(f"{name} DESC" for name in names)
        return self._write("*", _compare(names, "<", key, given), given, f" ORDER BY {order}")

    def write_count(self, values: Sequence[Any]) -> tuple[str, Params]:
        """One row, of one number: rows whose key is `values`, or begins with fewer of them and has a null next.

        One `OR` of several such would have SQLite go through the whole table.
        """
        given, names = self._begin()
        wanted = [f"{name} = {given.add(value)}" for name, value in zip(names, values, strict=False)]
        wanted += [f"{name} IS NULL" for name in names[len(values) :][:1]]
        return self._write("COUNT(*) AS tidemill_found", " AND ".join(wanted), given)

    def write_between(self, start: Any, stop: Any) -> tuple[str, Params]:
        """One row, of one number: rows whose first key column is `start` or greater, and less than `stop`."""
        given, names = self._begin()
        where = f"{names[0]} >= {given.add(start)} AND {names[0]} < {given.add(stop)}"
        return self._write("COUNT(*) AS tidemill_found", where, given)

    def _begin(self) -> tuple[Parameters, list[str]]:
        return Parameters(self.params, self.marks), [quote_name(name) for name in self.key]

    def _write(self, columns: str, where: str, given: Parameters, order: str = "") -> tuple[str, Params]:
        inner = self.sql.strip().rstrip(";")
        if given.values and not self.params and self.marks in ("format", "pyformat"):
            inner = inner.replace("%", "%%")  # which such a driver reads as marks, once anything is given
        wanted = f" WHERE {where}" if where else ""
        return f"SELECT {columns} FROM (\n{inner}\n) AS tidemill_rows{wanted}{order}", given.values


def _compare(names: Sequence[str], sign: str, values: Sequence[Any], given: Parameters) -> str:
    left, right = ", ".join(names), ", ".join(given.add(value) for value in values)
    return f"({left}) {sign} ({right})" if len(names) > 1 else f"{left} {sign} {right}"


def quote_name(name: str) -> str:
    """A column's name as SQL has it: in quotes, where it is not plain.

    >>> quote_name("id"), quote_name("User Id")
    ('id', '"User Id"')
    """
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
