"""NumPy's files: `.npy`, one array, and `.npz`, an archive of them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
from isal import isal_zlib

from tidemill.data.files import PartFile, compare_file, find_local, open_random, stat_file
from tidemill.data.formats.arrays.arrays import Arrays, FetchedArrays, MappedArrays, PackedArrays
from tidemill.data.formats.arrays.layout import Layout, choose_layouts, read_layout, read_layouts
from tidemill.data.formats.arrays.rows import ArrayRows, open_arrays
from tidemill.data.formats.arrays.saving import save_array, save_arrays
from tidemill.data.formats.format import PLAIN, Options, Rows, Traits
from tidemill.data.formats.written_once import WrittenOnce
from tidemill.data.reader import PartReader
from tidemill.errors import ConfigError, DataError, ResourceError
from tidemill.protocols import Growth, Record, State

if TYPE_CHECKING:
    import pyarrow as pa


class Npy(WrittenOnce):
    """One array, as a `Format`: `{"vector": row}` for each row, or the fields of structured values by their names.

    A row is a view of the file where that is local, as it lies there: of its byte order and its kind, and not to be
    written; of an array of one dimension it is a Python value. Arrays of Python objects are refused. A local file is
    mapped into memory, so it must not be cut while it is read.
    """

    name = "npy"
    suffixes: tuple[str, ...] = (".npy",)
    takes = frozenset({"columns"})
    traits = Traits(
        title="NumPy array",
        record='`{"vector": row}`, or the fields of structured values',
        by_number="at once: rows, slices and columns are views of a local file",
        resume="nothing",
        schema="the header's kind and shape",
        extra="numpy",
    )

    def _open_whole(self, path: Path, state: State | None, options: Options) -> PartReader:
        layout = _load_array(path, options.columns)
        arrays = _open_layouts(path, [layout])
        file = PartFile(path, state if state and "crc" in state else None)
        return open_arrays(path, arrays, layout.rows, _ArrayStamp(layout, file), state, options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        growth = compare_file(path, state)
        return "edited" if growth == "grown" else growth  # the header says how many rows there are

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        raise DataError("expected a row of an array, which cannot be made from bytes", raw=raw)

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        """Write records of the one column `vector`: numbers or lists of numbers, of one shape and kind."""
        return save_array(records, file)

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema | None:
        return _to_schema([_load_array(path, options.columns)])

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        return ArrayRows(path, partial(_load_npy, columns=options.columns))


class Npz(WrittenOnce):
    """An archive of arrays of as many rows each, as a `Format`: a record has a row of each, by the array's name.

    As of `Npy`; what is packed (`numpy.savez_compressed`) is unpacked in order, and cannot be a dataset.
    """

    name = "npz"
    suffixes: tuple[str, ...] = (".npz",)
    takes = frozenset({"columns"})
    traits = Traits(
        title="NumPy archive",
        record="a row of each array, by the arrays' names",
        by_number="as of an array; not where it is packed",
        resume="nothing; where it is packed the rows before are unpacked",
        schema="the headers' kinds and shapes",
        packed="arrays, by Deflate (`numpy.savez_compressed`)",
        extra="numpy",
    )

    def _open_whole(self, path: Path, state: State | None, options: Options) -> PartReader:
        known = stat_file(path)
        layouts, mark = _load_archive(path, options.columns)
        arrays = _open_layouts(path, layouts)
        rows = layouts[0].rows
        return open_arrays(path, arrays, rows, _ArchiveStamp(rows, mark, known), state, options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        try:
            stamp = stat_file(path)
            if all(state.get(name) == value for name, value in stamp.items()):
                return "same"
            return "same" if "mark" in state and _load_archive(path, None)[1] == state["mark"] else "edited"
        except (ResourceError, DataError):
            return "edited"

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        raise DataError("expected a row of arrays, which cannot be made from bytes", raw=raw)

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        """Write a column of numbers, or of lists of numbers of one shape and kind, as an array each; not packed."""
        return save_arrays(records, file)

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema | None:
        return _to_schema(_load_archive(path, options.columns)[0])

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        return ArrayRows(path, partial(_load_npz, columns=options.columns))


class _ArrayStamp:
    """The bytes before a row; of an array that lies by column, all of them."""

    def __init__(self, layout: Layout, file: PartFile) -> None:
        self._layout = layout
        self._file = file

    def state(self, row: int) -> State:
        layout = self._layout
        read = layout.start + row * layout.row_bytes
        return {"read": read, **self._file.state(read if layout.is_by_row else layout.stop)}

    def close(self) -> None:
        self._file.close()


class _ArchiveStamp:
    """What an archive's directory says of its members, their checksums among it."""

    def __init__(self, rows: int, mark: int, stamp: State) -> None:
        self._rows = rows
        self._state = {"mark": mark, **stamp}

    def state(self, row: int) -> State:
        return {"read": self._state["size"] * row // max(1, self._rows), **self._state}

    def close(self) -> None:
        """Nothing is open."""


def _load_array(path: Path, columns: tuple[str, ...] | None) -> Layout:
    with open_random(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        (layout,) = choose_layouts(path, [read_layout(path, file, size)], columns)
    return layout


def _load_archive(path: Path, columns: tuple[str, ...] | None) -> tuple[list[Layout], int]:
    """The arrays of an archive, and a checksum over what it says of them."""
    with open_random(path) as file:
        size = file.seek(0, io.SEEK_END)
        layouts, members = read_layouts(path, file, size, columns)
    return layouts, isal_zlib.crc32(orjson.dumps(members))


def _open_layouts(path: Path, layouts: list[Layout]) -> Arrays:
    """What reads them.

    Raises:
        DataError: their rows cannot be read one behind the other, where they have to be.
    """
    if any(layout.member for layout in layouts):
        return PackedArrays(path, layouts)
    local = find_local(path)
    return FetchedArrays(path, layouts) if local is None else MappedArrays(local, layouts)


def _load_npy(path: Path, columns: tuple[str, ...] | None) -> tuple[Arrays, tuple[str, ...], int]:
    layout = _load_array(path, columns)
    return _open_layouts(path, [layout]), layout.names, layout.rows


def _load_npz(path: Path, columns: tuple[str, ...] | None) -> tuple[Arrays, tuple[str, ...], int]:
    layouts, _ = _load_archive(path, columns)
    packed = next((layout for layout in layouts if layout.member), None)
    if packed is not None:
        raise ConfigError(
            f"a packed archive cannot be a dataset: `{packed.name}` can only be unpacked from its start",
            where=str(path),
            hint=f"stream it with tidemill.read({str(path)!r}), or write it with `numpy.savez`, which packs nothing",
        )
    return _open_layouts(path, layouts), tuple(name for each in layouts for name in each.names), layouts[0].rows


def _to_schema(layouts: list[Layout]) -> pa.Schema | None:
    """Numbers, and lists of so many of them; None where Arrow has no such kind."""
    import pyarrow as pa

    fields = []
    for layout in layouts:
        for name in layout.names:
            dtype = layout.dtype if layout.dtype.names is None else layout.dtype[name]
            shape = (*layout.shape[1:], *dtype.shape)
            try:
                kind = pa.from_numpy_dtype(dtype.base.newbyteorder("="))
            except (pa.ArrowNotImplementedError, NotImplementedError):
                return None
            for length in reversed(shape):
                kind = pa.list_(kind, length)
            fields.append(pa.field(name, kind))
    return pa.schema(fields)


NPY = Npy()
NPZ = Npz()
