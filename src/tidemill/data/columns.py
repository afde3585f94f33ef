"""What is said of a column that a record lacks."""

from __future__ import annotations

from typing import Any

from tidemill.config.suggest import find_near
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
