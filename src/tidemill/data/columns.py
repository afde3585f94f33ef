"""A record's columns by name."""

from __future__ import annotations

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
