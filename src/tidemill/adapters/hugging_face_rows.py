"""The rows of a `datasets.Dataset`, as records by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import datasets

from tidemill.protocols import Record


class HuggingFaceRows:
    """Rows by number: `rows[7]`, `rows[-1]`, `rows[2:5]` as a list, `len`, and iteration.

    Attributes:
        dataset: the `datasets.Dataset`.
    """

    def __init__(self, dataset: datasets.Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return self.read_rows(range(len(self))[index])
        row: Record = self.dataset[index]
        return row

    def __iter__(self) -> Iterator[Record]:
        return iter(self.dataset)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HuggingFaceRows) and self.dataset._fingerprint == other.dataset._fingerprint

    def __hash__(self) -> int:
        return hash(self.dataset._fingerprint)

    def __repr__(self) -> str:
        return f"<HuggingFaceRows: {len(self):,} rows, columns {', '.join(self.columns) or 'none'}>"

    @property
    def features(self) -> Any:
        """What each column is."""
        return self.dataset.features

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.dataset.column_names)

    def narrow(self, columns: Sequence[str]) -> HuggingFaceRows:
        """The same rows with these columns alone."""
        return HuggingFaceRows(self.dataset.select_columns(list(columns)))

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        """The rows of these numbers, in their order, read in one go.

        Raises:
            IndexError: there is no such row.
        """
        rows: list[Record] = self.dataset.__getitems__(list(indices)) if len(indices) else []
        return rows

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        """The rows from `start` to `stop`, block by block."""
        return iter(self.dataset.select(range(start, max(start, stop))))
