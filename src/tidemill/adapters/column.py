"""Where in a batch a value stands, for the errors about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidemill.errors import DataError


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a batch by its path, `meta.score`; the empty path is the records themselves.

    Attributes:
        per_record: values that come one after the other for each record, where lists were taken apart.
    """

    path: str
    per_record: int = 1

    def inside(self, name: object) -> Column:
        """The column `name` of the dicts in this one."""
        return Column(f"{self.path}.{name}" if self.path else str(name), self.per_record)

    def within(self, per_record: int) -> Column:
        """This column's values, so many for each record."""
        return replace(self, per_record=per_record)

    def error(self, number: int, message: str, hint: str = "") -> DataError:
        """An error about the value of this number."""
        record = f"record {number // self.per_record} of the batch"
        return DataError(message, where=f"column `{self.path}`, {record}" if self.path else record, hint=hint)
