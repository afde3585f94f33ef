"""The rows of the arrays in a file: mapped where they lie, fetched by ranges, or unpacked in order."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from tidemill.data.files import check_whole, find_local, open_random
from tidemill.data.files.mapping import map_private
from tidemill.data.formats.arrays.layout import ARCHIVE_ERRORS, Layout, explain_archive, read_header
from tidemill.errors import DataError
from tidemill.protocols import Record

if TYPE_CHECKING:
    import numpy as np

Columns = Mapping[str, "np.ndarray[Any, Any]"]
"""Arrays by name, all of as many rows; not to be written."""

WINDOW_BYTES = 32 * 1024 * 1024
"""Mapped at a time by what goes through a file: what lies behind is unmapped once no record of it is held."""

WINDOW_ROWS = 256


class Arrays(Protocol):
    """The arrays of one file, by ranges of their rows."""

    def read(self, start: int, stop: int) -> Columns:
        """The rows from `start` to `stop`; a range that may be a view.

        Raises:
            DataError: the file ends early, or is corrupt.
            ResourceError: it cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the file; what was read of it stays as it is."""
        ...


class MappedArrays:
    """Arrays of a local file as they lie there: nothing is copied, and a page is read when a number of it is.

    The file is held open, so that what is mapped later is of the same one. Threads and forked processes may share one.

    Raises:
        ResourceError: the file cannot be opened.
    """

    def __init__(self, path: Path, layouts: Sequence[Layout]) -> None:
        self._path = path
        self._file = open_random(path)
        self._layouts = tuple(layouts)
        self._window: tuple[int, int, Columns] = (0, 0, {})  # replaced whole, as threads may share it
        self._whole: Columns | None = None
        rows = max(layout.row_bytes for layout in layouts)
        self._step = max(WINDOW_ROWS, WINDOW_BYTES // max(1, rows))

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # not when it could not be opened
            self._file.close()

    def read(self, start: int, stop: int) -> Columns:
        if self._whole is not None or not all(layout.is_by_row for layout in self._layouts):
            return _cut(self.view(), start, stop)
        first, last, columns = self._window
        if not first <= start <= stop <= last:
            first, last = start, max(stop, min(start + self._step, self._layouts[0].rows))
            columns = _gather(self._layouts, [self._map(each, first, last) for each in self._layouts])
            self._window = first, last, columns
        return _cut(columns, start - first, stop - first)

    def view(self) -> Columns:
        """All rows, mapped until `close`."""
        whole = self._whole
        if whole is None:
            arrays = [self._map(each, 0, each.rows) for each in self._layouts]
            self._whole = whole = _gather(self._layouts, arrays)
        return whole

    def close(self) -> None:
        self._window = (0, 0, {})
        self._whole = None
        self._file.close()

    def _map(self, layout: Layout, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        first = layout.start + start * layout.row_bytes if layout.is_by_row else layout.start
        last = first + (stop - start) * layout.row_bytes
        shape = (stop - start, *layout.shape[1:])
        if first == last:  # nothing to map
            return np.empty(shape, layout.dtype)
        mapping, offset = map_private(self._file, self._path, first, last)
        array = np.ndarray(shape, layout.dtype, mapping, offset, order="F" if layout.is_fortran else "C")
        array.flags.writeable = False
        return array


class FetchedArrays:
    """Arrays of a file elsewhere whose rows lie one behind the other, by ranges of bytes. One reader at a time."""

    def __init__(self, path: Path, layouts: Sequence[Layout]) -> None:
        for layout in layouts:
            check_by_row(path, layout, "a file elsewhere")
        self._path = path
        self._layouts = tuple(layouts)
        self._file: BinaryIO | None = None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:  # missing when it was refused
            self.close()

    def read(self, start: int, stop: int) -> Columns:
        if self._file is None:
            self._file = open_random(self._path)
        arrays = []
        for layout in self._layouts:
            self._file.seek(layout.start + start * layout.row_bytes)
            data = _read_exactly(self._file, (stop - start) * layout.row_bytes)
            arrays.append(_shape(self._path, layout, data, stop - start))
        return _gather(self._layouts, arrays)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class PackedArrays:
    """Arrays of an archive whose members are packed, some or all: unpacked from their start, in order."""

    def __init__(self, path: Path, layouts: Sequence[Layout]) -> None:
        for layout in layouts:
            check_by_row(path, layout, "a packed array")
        self._path = path
        self._layouts = tuple(layouts)
        self._members: dict[str, Any] = {}
        self._row = 0
        self._file = open_random(path)
        self._size_bytes = self._file.seek(0, io.SEEK_END)
        self._archive = zipfile.ZipFile(self._file)

    def __del__(self) -> None:
        if hasattr(self, "_archive"):  # not when it was refused
            self.close()

    def read(self, start: int, stop: int) -> Columns:
        if start < self._row:
            self._close_members()
        arrays = []
        try:
            for layout in self._layouts:
                member = self._open(layout)
                for skipped in _iter_stretches(start - self._row, layout.row_bytes):
                    _read_exactly(member, skipped * layout.row_bytes)
                data = _read_exactly(member, (stop - start) * layout.row_bytes)
                arrays.append(_shape(self._path, layout, data, stop - start))
        except ARCHIVE_ERRORS as error:
            if find_local(self._path) is not None:
                check_whole(self._file, self._path, self._size_bytes)
            raise explain_archive(self._path, error) from error
        self._row = stop
        return _gather(self._layouts, arrays)

    def close(self) -> None:
        self._close_members()
        self._archive.close()
        self._file.close()

    def _open(self, layout: Layout) -> Any:
        name = layout.member or f"{layout.name}.npy"
        if name not in self._members:
            member = self._members[name] = self._archive.open(name)
            read_header(self._path, cast(BinaryIO, member), layout.name)
        return self._members[name]

    def _close_members(self) -> None:
        for member in self._members.values():
            member.close()
        self._members = {}
        self._row = 0


def check_by_row(path: Path, layout: Layout, kind: str) -> None:
    """Check that rows can be read one behind the other.

    Raises:
        DataError: the array lies by column.
    """
    if not layout.is_by_row:
        raise DataError(
            f"expected rows that lie one behind the other, got {kind} in Fortran order",
            where=f"{path}, array `{layout.name}`",
            hint="save `np.ascontiguousarray(array)`, or read it from a local file that is not packed",
        )


def to_records(columns: Columns) -> list[Record]:
    """The rows as dicts: of an array of several dimensions a view, of one dimension a Python value."""
    return _zip_rows(columns, [array.tolist() if _is_plain(array) else list(array) for array in columns.values()])


def pick_records(columns: Columns, places: Sequence[int]) -> list[Record]:
    """The rows at these places, likewise."""
    values = [
        [array.item(place) for place in places] if _is_plain(array) else [array[place] for place in places]
        for array in columns.values()
    ]
    return _zip_rows(columns, values)


def _is_plain(array: np.ndarray[Any, Any]) -> bool:
    """Whether its rows are values of Python's own; dates would lose their nanoseconds."""
    return array.ndim == 1 and array.dtype.kind not in "mM"


def _zip_rows(columns: Columns, values: Sequence[Sequence[Any]]) -> list[Record]:
    if len(values) == 1:
        (name,) = columns
        return [{name: value} for value in values[0]]
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _shape(path: Path, layout: Layout, data: bytes, rows: int) -> np.ndarray[Any, Any]:
    import numpy as np

    if len(data) < rows * layout.row_bytes:
        raise DataError("the array is cut", where=f"{path}, array `{layout.name}`", hint="fetch it again")
    return np.frombuffer(data, layout.dtype).reshape(rows, *layout.shape[1:])


def _gather(layouts: Sequence[Layout], arrays: Sequence[np.ndarray[Any, Any]]) -> Columns:
    columns: dict[str, np.ndarray[Any, Any]] = {}
    for layout, array in zip(layouts, arrays, strict=True):
        columns.update({layout.name: array} if array.dtype.names is None else {n: array[n] for n in layout.names})
    return columns


def _cut(columns: Columns, start: int, stop: int) -> Columns:
    return {name: array[start:stop] for name, array in columns.items()}


def _iter_stretches(rows: int, row_bytes: int) -> Iterator[int]:
    """So many rows, a window at a time."""
    step = max(1, WINDOW_BYTES // max(1, row_bytes))
    for start in range(0, rows, step):
        yield min(step, rows - start)


def _read_exactly(file: Any, size: int) -> bytes:
    pieces = []
    while size and (data := file.read(size)):
        pieces.append(data)
        size -= len(data)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
