"""The sources that a job file can name."""

from __future__ import annotations

from typing import Any

from tidemill.data.sources.hub import Hub
from tidemill.data.sources.read import Read
from tidemill.data.sources.sql import SQL

FileSource = Read | SQL | Hub
"""What stands under `source:`, told apart by its first key."""

FILE_SOURCES: tuple[type[FileSource], ...] = (Read, SQL, Hub)


def find_source_kind(written: Any) -> type[FileSource]:
    """The kind of source that a mapping is of, by the one key that only it needs; files where nothing tells."""
    keys = written if isinstance(written, dict) else {}
    return SQL if "sql" in keys else Hub if "hf" in keys else Read
