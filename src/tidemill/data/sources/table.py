"""The sources that a job file can name."""

from __future__ import annotations

from typing import Any

from tidemill.data.sources.hub import Hub
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.data.sources.sql import SQL

FileSource = Read | RowFiles | SQL | Hub
"""What stands under `source:`, told apart by its first key."""

FILE_SOURCES: tuple[type[FileSource], ...] = (Read, RowFiles, SQL, Hub)


def find_source_kind(written: Any) -> type[FileSource]:
    """The kind of source that a mapping is of, by the one key that only it needs; files where nothing tells."""
    keys = written if isinstance(written, dict) else {}
    told_by: dict[str, type[FileSource]] = {"dataset": RowFiles, "sql": SQL, "hf": Hub}
    return next((kind for key, kind in told_by.items() if key in keys), Read)


def renew_source(source: Any) -> Any:
    """The source; a dataset that a job file names, to be looked for anew."""
    return source.renew() if isinstance(source, RowFiles) else source
