"""A record's columns by name."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from tidemill.config.wording.suggest import find_near
from tidemill.errors import DataError


def missing_column(missing: str, record: Any) -> DataError:
    """The error of a record without the column `missing`, with the one that was meant."""
    if not isinstance(record, dict):
        return DataError(f"expected a record with a column `{missing}`, got a {type(record).__name__}")
    near = find_near(missing, list(record))
    return DataError(
        f"expected a column `{missing}`, got {', '.join(f'`{name}`' for name in record) or 'none'}",
        hint=f"did you mean `{near}`?" if near else "",
    )


def no_columns(record: Any) -> DataError:
    """The error of a record that has none."""
    got = "None" if record is None else f"a {type(record).__name__}"
    return DataError(f"expected a record with columns, got {got}", hint="map it to a dict first")


def read_column(record: Any, name: str) -> Any:
    """A record's value in the column `name`.

    Raises:
        DataError: it has no such column; says which was meant.
    """
    try:
        return record[name]
    except (KeyError, TypeError, IndexError):
        raise missing_column(name, record) from None


def make_reader(name: str) -> Callable[[Any], Any]:
    """`read_column` of one column, where it is asked for of each record."""

    def read(record: Any) -> Any:
        try:
            return record[name]
        except (KeyError, TypeError, IndexError):
            raise missing_column(name, record) from None

    return read


def make_row_reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """A record's values in several columns, as `read_column` gives each."""
    if len(names) == 1:
        read_one = make_reader(names[0])
        return lambda record: (read_one(record),)
    take: Callable[[Any], tuple[Any, ...]] = itemgetter(*names)

    def read(record: Any) -> tuple[Any, ...]:
        try:
            return take(record)
        except (KeyError, TypeError, IndexError):
            return tuple([read_column(record, name) for name in names])

    return read
