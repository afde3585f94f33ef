"""What a database answered: columns and rows as JSON has them, no more than a model can read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_CELL: Final = 2_000
"""Characters of one value that are told."""
_SHOWN_BYTES: Final = 32
_SAFE_INTEGER: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result or a table: its name, and its type as the database calls it, empty where it does not say."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a result is taken: rows, and bytes of their text."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Rows:
    """A result.

    Attributes:
        columns: in order.
        rows: each with a value a column, as JSON: dates, times, decimals and UUIDs as text, bytes as their beginning in
            hex.
        is_cut: whether there are more rows, or a value was too long.
    """

    columns: list[Column]
    rows: list[list[Any]]
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view: its name as a query writes it, and its columns."""

    name: str
    columns: list[Column]


def read_rows(columns: list[Column], found: Iterable[Sequence[Any]], bounds: Bounds) -> Rows:
    """As many of the rows as `bounds` allow, at least one where there is one."""
    rows: list[list[Any]] = []
    size, is_cut = 0, False
    for row in found:
        cells = [to_cell(value) for value in row]
        size += sum(len(str(value)) + 2 for value, _ in cells)
        if len(rows) >= bounds.rows or (rows and size > bounds.bytes):
            return Rows(columns, rows, is_cut=True)
        rows.append([value for value, _ in cells])
        is_cut = is_cut or any(cut for _, cut in cells)
    return Rows(columns, rows, is_cut)


def group_columns(found: Iterable[tuple[str, str, str]]) -> list[Table]:
    """The tables of rows of table, column and type that stand in their order."""
    tables: dict[str, list[Column]] = {}
    for table, column, kind in found:
        tables.setdefault(table, []).append(Column(column, kind))
    return [Table(name, columns) for name, columns in tables.items()]


def to_cell(value: Any) -> tuple[Any, bool]:
    """A value as JSON, and whether something of it was left out.

    >>> import decimal
    >>> to_cell(decimal.Decimal("1.50")), to_cell(b"ab")
    (('1.50', False), ("x'6162'", False))
    """
    if value is None or isinstance(value, bool):
        return value, False
    if isinstance(value, int):
        return (value if -_SAFE_INTEGER <= value < _SAFE_INTEGER else str(value)), False
    if isinstance(value, float):
        return (value if math.isfinite(value) else str(value)), False
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if len(data) <= _SHOWN_BYTES:
            return f"x'{data.hex()}'", False
        return f"x'{data[:_SHOWN_BYTES].hex()}…' ({len(data):,} bytes)", True
    if isinstance(value, (Mapping, list, tuple)):
        return _to_nested(value)
    text = str(value)
    return (text, False) if len(text) <= MAX_CELL else (f"{text[:MAX_CELL]}… ({len(text):,} characters)", True)


def _to_nested(value: Mapping[Any, Any] | Sequence[Any]) -> tuple[Any, bool]:
    if isinstance(value, Mapping):
        pairs = {str(key): to_cell(item) for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, any(cut for _, cut in pairs.values())
    items = [to_cell(item) for item in value]
    return [item for item, _ in items], any(cut for _, cut in items)
