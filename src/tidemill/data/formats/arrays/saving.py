"""Writing records as NumPy's arrays, a column each."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO

from tidemill.data.formats.arrays.layout import COLUMN, SUFFIX, import_numpy
from tidemill.errors import DataError

_MEMORY_BYTES = 32 * 1024 * 1024
"""Of a column; what is more goes to a temporary file."""

_NUMBERS = "biufcmM"


class _Column:
    """Rows of one shape, as they are added; the first says what they are."""

    def __init__(self, numpy: Any, name: str) -> None:
        self.name = name
        self.file: IO[bytes] = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - the saving's stack closes it
        self._numpy = numpy
        self._dtype: Any = None
        self._shape: tuple[int, ...] = ()

    def add(self, value: Any, number: int) -> None:
        """Add one row.

        Raises:
            DataError: it has no form in an array, or is none of the first one's shape and kind.
        """
        try:
            row = self._numpy.asarray(value)
        except ValueError:  # ragged
            row = self._numpy.empty((), object)
        if row.dtype.kind not in _NUMBERS:
            got = f"an array of {row.dtype}" if isinstance(value, self._numpy.ndarray) else f"a {type(value).__name__}"
            raise DataError(
                f"record {number} has no form in an array: expected numbers of one shape as `{self.name}`, got {got}",
                hint="select the columns of numbers first, or write Parquet, which holds text and lists of any length",
            )
        if self._dtype is None:
            self._dtype, self._shape = row.dtype.newbyteorder("="), row.shape
        if row.shape != self._shape or not self._numpy.can_cast(row.dtype, self._dtype, "safe"):
            raise DataError(
                f"record {number} does not fit the first: expected {_show(self._dtype, self._shape)} as "
                f"`{self.name}`, got {_show(row.dtype, row.shape)}",
                hint="make all of one shape and kind in a step, or write Parquet",
            )
        self.file.write(row.astype(self._dtype).tobytes())

    def write(self, file: IO[bytes], count: int) -> None:
        """Write all rows as an array."""
        dtype = self._numpy.dtype("float64") if self._dtype is None else self._dtype
        form = self._numpy.lib.format
        header = {"descr": form.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, *self._shape)}
        form.write_array_header_1_0(file, header)
        self.file.seek(0)
        shutil.copyfileobj(self.file, file)


def save_array(records: Iterable[Any], file: BinaryIO) -> int:
    """Write records of the one column `vector` as one array.

    Memory: 32 MiB; what is more lies in a temporary file.

    Raises:
        DataError: a record has other columns, or no form in an array; names its number.
    """
    with ExitStack() as stack:
        column = _Column(import_numpy(), COLUMN)
        stack.enter_context(column.file)
        count = 0
        for count, record in enumerate(records, 1):
            if not isinstance(record, dict) or record.keys() != {COLUMN}:
                raise DataError(
                    f"record {count - 1} is not one column `{COLUMN}`, all that a `.npy` file holds",
                    hint=f"`.rename({{…: {COLUMN!r}}})` and `.select({COLUMN!r})` first; a `.npz` file holds several",
                )
            column.add(record[COLUMN], count - 1)
        column.write(file, count)
        return count


def save_arrays(records: Iterable[Any], file: BinaryIO) -> int:
    """Write records of any columns of numbers as an archive of one array each, not packed, so that it can be mapped.

    Memory: 32 MiB a column; what is more lies in temporary files.

    Raises:
        DataError: a record has other columns than the first, or no form in arrays; names its number.
    """
    numpy = import_numpy()
    columns: dict[str, _Column] = {}
    with ExitStack() as stack:
        count = 0
        for count, record in enumerate(records, 1):
            if count == 1 and isinstance(record, dict):
                columns = {str(name): _Column(numpy, str(name)) for name in record}
                for column in columns.values():
                    stack.enter_context(column.file)
            if not isinstance(record, dict) or not record or record.keys() != columns.keys():
                raise DataError(
                    f"record {count - 1} has other columns than the first: arrays have a value in each row",
                    hint="select the columns that all records have, or write Parquet",
                )
            for name, column in columns.items():
                column.add(record[name], count - 1)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            if not columns:  # so that what is saved of no records can be read
                columns = {COLUMN: _Column(numpy, COLUMN)}
                stack.enter_context(columns[COLUMN].file)
            for name, column in columns.items():
                with archive.open(zipfile.ZipInfo(name + SUFFIX), "w", force_zip64=True) as member:
                    column.write(member, count)
        return count


def _show(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{dtype} {shape}" if shape else f"one {dtype}"
