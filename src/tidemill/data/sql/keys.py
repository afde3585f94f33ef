"""Keys of rows: taken from them, and whether a query can go on behind one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from itertools import compress, count, repeat
from operator import contains, eq, is_, itemgetter
from typing import Any

from tidemill.data.sql.query import KeyedQuery, Params
from tidemill.errors import ConfigError, DataError
from tidemill.protocols import Record

Key = tuple[Any, ...]

Ask = Callable[[str, Params], Record | None]
"""Sends a query, and gives its first row."""

_NOTHING = object()
_DIFFER = "name columns that are there and together differ in every row"
_INEXACT = "make it in the query what Python holds in full: a whole number, a text, a time of microseconds"


def take_keys(records: Sequence[Record], key: Sequence[str], last: Any) -> list[Any]:
    """The key of each row: of one column its value, else a tuple.

    Args:
        last: that of the row before them, None where there is none.

    Raises:
        ConfigError: there are no such columns.
        DataError: a key is null, or that of the row before as well, or the first one is less than the last.
    """
    first = records[0]
    missing = next((name for name in key if name not in first), None)
    if missing is not None:
        known = ", ".join(f"`{name}`" for name in first)
        raise ConfigError(f"the query gives no column `{missing}`, which `key` names", hint=f"it gives {known}")
    keys: list[Any] = list(map(itemgetter(*key), records))
    before = [_NOTHING if last is None else last, *keys[:-1]]
    repeated = next(compress(count(), map(eq, keys, before)), None)
    lacks = map(is_, keys, repeat(None)) if len(key) == 1 else map(contains, keys, repeat(None))
    number = next(compress(count(), lacks), repeated)
    if number is not None:
        wrong = f"{_name(key)} {keys[number]!r:.80} again" if number == repeated else f"no value in {_name(key)}"
        raise DataError(f"row {number} of those fetched has {wrong}: no key to go on from", hint=_DIFFER)
    if last is not None and is_less(keys[0], last):
        raise DataError(
            f"{_name(key)} {keys[0]!r:.80} comes behind {last!r:.80}: what the driver gives is not what is compared",
            hint=_INEXACT,
        )
    return keys


def check_place(query: KeyedQuery, behind: Key | None, ask: Ask) -> None:
    """See that no row is passed over by a query that goes on behind a key, or begins at one of its values.

    Args:
        behind: the key; None where rows begin at a value of the first column.

    Raises:
        DataError: rows have no key, or are equal to this one, or it is not what the database holds.
    """
    named = _name(query.key)
    for columns in range(1 if behind is None else len(behind)):
        lost = _read_number(ask(*query.write_count((behind or ())[:columns])))
        if lost:
            has = "rows have" if lost > 1 else "row has"
            raise _fail(f"{lost:,} {has} no value in {named}: no key to go on from", _DIFFER)
    found = 1 if behind is None else _read_number(ask(*query.write_count(behind)))
    if behind is None or found == 1:
        return
    shown = f"{behind[0] if len(behind) == 1 else behind!r:.80}"
    if found:
        raise _fail(
            f"the database finds {found:,} rows whose {named} is {shown}, the last one read: no key to go on from",
            f"{_DIFFER}; by some collations `Ann` is `ann`",
        )
    before = ask(*query.write_rows_before(behind))
    if before is not None and tuple(before[name] for name in query.key) == behind:
        raise _fail(f"{named} {shown} is not what the database compares, but its driver's", _INEXACT)


def check_bounds(query: KeyedQuery, start: Any, stop: Any, ask: Ask) -> None:
    """See that a part does not end before it begins, so that its rows would be those of others as well.

    Raises:
        DataError: there are rows between its end and its beginning.
    """
    if _read_number(ask(*query.write_between(stop, start))):
        raise _fail(f"the splits {start!r:.80} and {stop!r:.80} do not ascend to the database", "put them in its order")


def is_less(key: Any, other: Any) -> bool:
    """Whether a key is less than another where every database has Python's order: of numbers, dates and times."""
    pairs = zip(key, other, strict=True) if type(key) is tuple else ((key, other),)
    differing = next(((a, b) for a, b in pairs if a != b), None)
    if differing is None or not all(isinstance(each, (int, float, Decimal, date)) for each in differing):
        return False
    try:
        return bool(differing[0] < differing[1])
    except (TypeError, ArithmeticError):  # times with and without a zone; what is not a number
        return False


def _fail(message: str, hint: str) -> DataError:
    error = DataError(message, hint=hint)
    error.of = "run"  # what is wrong is the query's
    return error


def _read_number(row: Record | None) -> int:
    return 0 if row is None else int(next(iter(row.values())))


def _name(key: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in key)
