"""Where the rows of NumPy's arrays lie in a file: the headers of `.npy` files and of the members of `.npz` files."""

from __future__ import annotations

import errno
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tidemill.config.wording.suggest import suggest
from tidemill.errors import DataError, ResourceError, TidemillError
from tidemill.packages import missing_package

if TYPE_CHECKING:
    import numpy as np

COLUMN = "vector"
"""What the rows of a `.npy` file are called."""

SUFFIX = ".npy"

ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError),
    *(struct.error, zlib.error, ValueError, OverflowError),
)
"""What the standard library raises of an archive that is not what it says it is."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a member of a ZIP archive: PKWARE's APPNOTE 6.3.10, 4.3.7
_LOCAL_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Layout:
    """One array in a file.

    Attributes:
        name: its column; one of structured values gives a column for each of their fields instead.
        dtype: of its numbers, as they lie in the file.
        shape: rows first.
        is_fortran: whether the numbers of a column, not of a row, lie side by side.
        start: the offset of its first number: in the file, in a packed member behind the header.
        member: of one that is packed its name in the archive, else None.
        fields: of one of structured values those that are read; None for all.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    start: int
    member: str | None = None
    fields: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns."""
        if self.dtype.names is None:
            return (self.name,)
        return self.dtype.names if self.fields is None else self.fields

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def stop(self) -> int:
        """The offset behind its last number."""
        return self.start + self.rows * self.row_bytes

    @property
    def is_by_row(self) -> bool:
        """Whether the numbers of a row lie side by side, and rows one behind the other."""
        return not self.is_fortran or len(self.shape) == 1 or math.prod(self.shape) in self.shape


def import_numpy(where: str = "") -> Any:
    """NumPy.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise missing_package("a file of NumPy", "numpy", "numpy", error, where=where) from error
    return numpy


def explain_archive(path: Path, error: Exception) -> DataError:
    """That a file is no archive of arrays.

    Raises:
        ResourceError: the fault is the disk's, not the data's.
    """
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the place it names is none
        raise ResourceError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return DataError(f"expected a `.npz` file, an archive of arrays: {error}", where=str(path))


def read_layout(path: Path, file: BinaryIO, size: int) -> Layout:
    """The array of a `.npy` file of so many bytes.

    Raises:
        DataError: it is none, holds objects, has no rows, or is cut.
    """
    shape, is_fortran, dtype = read_header(path, file)
    layout = Layout(COLUMN, dtype, shape, is_fortran, file.tell())
    _check_size(path, layout, size)
    return layout


def read_layouts(
    path: Path, file: BinaryIO, size: int, columns: tuple[str, ...] | None
) -> tuple[list[Layout], list[list[Any]]]:
    """The arrays of a `.npz` file that have these columns, in its order, and what it says of all its members.

    Raises:
        DataError: it is none, one of them is no array of its own name or has another number of rows, or it is cut.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            layouts = [_read_member(path, file, archive, each, size) for each in members]
    except ARCHIVE_ERRORS as error:
        raise explain_archive(path, error) from error
    if not layouts:
        raise DataError("expected an archive of arrays, got one without any", where=str(path))
    names = [name for layout in layouts for name in layout.names]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"expected columns with names of their own, got `{repeated}` twice", where=str(path))
    layouts = choose_layouts(path, layouts, columns)
    first = layouts[0]
    other = next((layout for layout in layouts if layout.rows != first.rows), None)
    if other is not None:
        raise DataError(
            f"expected arrays of as many rows each, got `{first.name}` with {first.rows:,} and `{other.name}` "
            f"with {other.rows:,}",
            where=str(path),
            hint="`columns=` names those that belong together, or give each a file of its own",
        )
    return layouts, [[each.filename, each.CRC, each.file_size, each.header_offset] for each in members]


def choose_layouts(path: Path, layouts: Sequence[Layout], columns: tuple[str, ...] | None) -> list[Layout]:
    """Those that hold one of the columns, with these alone.

    Raises:
        DataError: none has a column asked for.
    """
    if columns is None:
        return list(layouts)
    known = [name for layout in layouts for name in layout.names]
    missing = next((name for name in columns if name not in known), None)
    if missing is not None:
        got = ", ".join(f"`{name}`" for name in known)
        raise DataError(f"expected a column `{missing}`, got {got}", where=str(path), hint=suggest(missing, known))
    chosen = []
    for layout in layouts:
        names = tuple(name for name in layout.names if name in columns)
        if names:
            chosen.append(layout if layout.dtype.names is None else replace(layout, fields=names))
    return chosen


def read_header(path: Path, file: BinaryIO, of: str = "") -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and kind of the array whose header comes next in `file`, which stands behind it then.

    Raises:
        DataError: there is none, or the array has objects or no rows.
    """
    form = import_numpy(str(path)).lib.format
    where = f"{path}, array `{of}`" if of else str(path)
    readers = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    try:
        version = form.read_magic(file)
        if version not in readers:
            raise DataError(
                f"expected a file of NumPy's format 1.0 or 2.0, got {'.'.join(map(str, version))}",
                where=where,
                hint="3.0 is for fields whose names are not Latin-1: rename them and save it again",
            )
        shape, is_fortran, dtype = readers[version](file)
    except TidemillError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ResourceError(f"cannot be read: {error.strerror}", where=where) from error
        cause = (str(error) or type(error).__name__).splitlines()[0]  # of its tokenizer's, too
        raise DataError(f"expected an array of NumPy: {cause}", where=where) from error
    if dtype.hasobject:
        raise DataError(
            "expected an array of numbers, got one of Python objects, which are pickled: reading them may run any code",
            where=where,
            hint="save it with a dtype of its own, or its records as JSON Lines or Parquet",
        )
    if not shape:
        hint = "save it as `array.reshape(1)`, or give the value to a step"
        raise DataError("expected an array with rows, got a single value (0-d)", where=where, hint=hint)
    if min(shape) < 0:
        raise DataError(f"expected an array of NumPy, got one of shape {shape}", where=where)
    return cast("tuple[int, ...]", shape), bool(is_fortran), cast("np.dtype[Any]", dtype)


def _read_member(path: Path, file: BinaryIO, archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> Layout:
    name = info.filename.removesuffix(SUFFIX)
    if not info.filename.endswith(SUFFIX) or info.flag_bits & 1:
        got = "an encrypted one" if info.flag_bits & 1 else f"`{info.filename}`"
        raise DataError(f"expected an archive of `.npy` arrays, got {got}", where=str(path))
    with archive.open(info) as member:
        shape, is_fortran, dtype = read_header(path, cast(BinaryIO, member), name)
        header_bytes = member.tell()
    packed = info.compress_type != zipfile.ZIP_STORED
    start = header_bytes if packed else _find_data(path, file, info) + header_bytes
    layout = Layout(name, dtype, shape, is_fortran, start, info.filename if packed else None)
    if info.file_size != header_bytes + layout.rows * layout.row_bytes:
        raise _wrong_size(path, layout, info.file_size - header_bytes)
    if not packed:
        _check_size(path, layout, size)
    return layout


def _find_data(path: Path, file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member that is not packed begin."""
    file.seek(info.header_offset)
    magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if magic != _LOCAL_MAGIC:
        raise DataError(f"expected a `.npz` file: `{info.filename}` is not where it says", where=str(path))
    return info.header_offset + _LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)


def _check_size(path: Path, layout: Layout, size: int) -> None:
    if size < layout.stop:
        raise _wrong_size(path, layout, size - layout.start)


def _wrong_size(path: Path, layout: Layout, got: int) -> DataError:
    shape = " × ".join(map(str, layout.shape))
    return DataError(
        f"the array is cut: {shape} of {layout.dtype} are {layout.rows * layout.row_bytes:,} bytes, got {got:,}",
        where=f"{path}, array `{layout.name}`",
        hint="write it again, or fetch it again",
    )
