"""Writing records to one file, in any format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tidemill.data.files import AnyPath, create_file, create_text
from tidemill.data.formats.csv_rows import find_layout
from tidemill.data.formats.format import PLAIN, Format, Options
from tidemill.disk import Disk
from tidemill.errors import ResourceError


def save_records(
    records: Iterable[Any],
    path: AnyPath,
    file_format: Format,
    options: Options = PLAIN,
    *,
    disk: Disk | None = None,
) -> int:
    """Write `records` to the file `path`, packed as its suffix says, with tabs when it is `.tsv`; returns how many.

    The file is there whole or not at all, and the same records give the same bytes.

    Raises:
        DataError: a record has no form in this format; names its number, counted from 0.
        ResourceError: the file cannot be written: the disk is full, or nobody may write there.
    """
    if "delimiter" in file_format.takes and options.delimiter is None:
        options = replace(options, delimiter=find_layout(path, options).delimiter)
    try:
        with create_file(path, disk=disk) as file:
            if not file_format.compressible:
                return file_format.save(records, file, options)
            with create_text(path, file) as text:
                return file_format.save(records, text, options)
    except OSError as error:  # the file's: that of a record is a `DataError` by then
        raise ResourceError(f"cannot be written: {error.strerror or error}", where=str(path)) from error
