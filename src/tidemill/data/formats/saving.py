"""Writing records to one file, in any format."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemill.data.formats.csv_rows import find_layout
from tidemill.data.formats.format import PLAIN, Format, Options
from tidemill.disk import Disk


def save_records(
    records: Iterable[Any],
    path: Path,
    file_format: Format,
    options: Options = PLAIN,
    *,
    disk: Disk | None = None,
) -> int:
    """Write `records` to the file `path`, gzip when it ends in `.gz`, with tabs when it is `.tsv`; returns how many.

    The file is there whole or not at all, and the same records give the same bytes.

    Raises:
        DataError: a record has no form in this format; names its number, counted from 0.
    """
    disk = disk or Disk()
    if "delimiter" in file_format.takes and options.delimiter is None:
        options = replace(options, delimiter=find_layout(path, options).delimiter)
    disk.make_folder(path.parent)
    with disk.create_file(path) as file:
        if file_format.compressible and path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                count = file_format.save(records, packed, options)  # type: ignore[arg-type] # a BinaryIO in all we use
        else:
            count = file_format.save(records, file, options)
    disk.sync_folder(path.parent)
    return count
