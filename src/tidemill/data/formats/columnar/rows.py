"""Records of a file in columns by their number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tidemill.data.formats.column import join_arrays
from tidemill.data.formats.columnar.arrow_views import view_vectors
from tidemill.data.formats.columnar.groups import Groups, corrupt_errors, explain_cause, explain_value, iter_group
from tidemill.errors import DataError
from tidemill.protocols import Record

if TYPE_CHECKING:
    import pyarrow as pa

_GROUPS_KEPT = 2
"""So that going to and fro over the end of a group decodes none again."""


class GroupsByNumber(Groups, Protocol):
    """Groups that can be read whole, in any order, from several threads."""

    ends: list[int]
    """Rows up to the end of each group."""

    def read_group(self, number: int) -> pa.Table | pa.RecordBatch:
        """All rows of one group."""
        ...


class GroupRows:
    """The records of one file in columns, as `Rows`; holds the two groups it read last.

    Args:
        path: the file.
        load: what opens it.
    """

    def __init__(self, path: Path, load: Callable[[Path], GroupsByNumber]) -> None:
        self._path = path
        self._load = load
        self._groups: GroupsByNumber | None = None
        self._recent: tuple[tuple[int, Any], ...] = ()  # replaced whole, as threads may share it

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_groups": None, "_recent": ()}

    def count_rows(self) -> int:
        ends = self._open().ends
        return ends[-1] if ends else 0

    def columns(self) -> tuple[str, ...]:
        return tuple(self._open().names)

    def read_row(self, index: int) -> Record:
        group, start = self._locate(index)
        return self._to_records(group, self._read_group(group).slice(index - start, 1))[0]

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        wanted: dict[int, list[int]] = {}  # places in `indices`, by group
        for place, index in enumerate(indices):
            wanted.setdefault(bisect_right(self._open().ends, index), []).append(place)
        records: list[Any] = [None] * len(indices)
        for group, places in wanted.items():
            start = self._start_of(group)
            taken = self._read_group(group).take([indices[place] - start for place in places])
            for place, record in zip(places, self._to_records(group, taken), strict=True):
                records[place] = record
        return records

    def read_array(self, name: str, places: range) -> Any | None:
        """Lists of one length of the rows at `places` as one array: over the group that holds them, of several a copy.

        None of any other values, and of those that may be null.
        """
        if not places or name not in self._open().names:
            return None
        low, high = sorted((places[0], places[-1]))
        first, last = self._locate(low)[0], self._locate(high)[0]
        views = [self._view(group, name, low, high + 1) for group in range(first, last + 1)]
        if any(view is None for view in views):
            return None
        return join_arrays(views)[:: places.step]

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        return chain.from_iterable(self._iter_links(start, stop))

    def release(self) -> None:
        self._groups = None
        self._recent = ()

    def _iter_links(self, start: int, stop: int) -> Iterator[Iterator[Record]]:
        groups = self._open()
        while start < stop:
            group, first = self._locate(start)
            after = min(groups.ends[group], stop)
            batches = groups.iter_batches(group)
            for run in iter_group(self._path, groups, group, start - first, batches, after - first):
                yield run.link()
            start = after

    def _view(self, group: int, name: str, start: int, stop: int) -> Any | None:
        """The vectors of one group, of its rows from `start` to `stop`."""
        first = self._start_of(group)
        column = self._read_group(group).column(name)
        if hasattr(column, "chunks"):
            if column.num_chunks != 1:
                return None
            column = column.chunk(0)
        at = max(0, start - first)
        return view_vectors(column.slice(at, min(stop, self._open().ends[group]) - first - at))

    def _locate(self, index: int) -> tuple[int, int]:
        """The group of a row, and that group's first row."""
        group = bisect_right(self._open().ends, index)
        return group, self._start_of(group)

    def _start_of(self, group: int) -> int:
        return self._open().ends[group - 1] if group else 0

    def _read_group(self, number: int) -> Any:

        recent = self._recent
        for kept, table in recent:
            if kept == number:
                return table
        groups = self._open()
        try:
            table = groups.read_group(number)
            if table.num_rows < groups.ends[number] - self._start_of(number):
                raise EOFError("the file ends early")
        except corrupt_errors() as error:
            cause = explain_cause(self._path, error)
            raise DataError(f"{groups.word} {number} is corrupt: {cause}", where=str(self._path)) from error
        self._recent = ((number, table), *recent[: _GROUPS_KEPT - 1])
        return table

    def _to_records(self, group: int, table: pa.Table | pa.RecordBatch) -> list[Record]:
        try:
            records: list[Record] = table.to_pylist()
        except (ValueError, OverflowError) as error:
            where = f"{self._path}, {self._open().word} {group}"
            raise DataError(f"a value has no form in Python: {explain_value(error)}", where=where) from error
        return records

    def _open(self) -> GroupsByNumber:
        groups = self._groups
        if groups is None:
            self._groups = groups = self._load(self._path)
        return groups
