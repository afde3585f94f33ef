"""A quarantine file: the records that failed, whole, with step, place and cause; one JSON line each."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tidemill.config.secrets import mask
from tidemill.data.formats.jsonl import parse_line
from tidemill.data.policy import find_step
from tidemill.errors import DataError, ResourceError, TidemillError

_KINDS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


class QuarantineFile:
    """Appends failures behind its first `size_bytes`; what stood behind them is cut off.

    So an iteration that goes on from a state rewrites just the failures that it meets again, and none stands twice.
    Open only while a failure is written.

    Raises:
        ResourceError: the file cannot be written.
    """

    def __init__(self, path: Path, size_bytes: int = 0) -> None:
        self.path = path
        self.size_bytes = size_bytes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab") as file:
                file.truncate(size_bytes)
        except OSError as error:
            raise _cannot_write(path, error) from error

    def append(self, error: BaseException) -> None:
        """Write one failure."""
        line = render_failure(error)
        try:
            with open(self.path, "r+b") as file:
                file.seek(self.size_bytes)
                file.write(line)
        except OSError as failed:
            raise _cannot_write(self.path, failed) from failed
        self.size_bytes += len(line)


def render_failure(error: BaseException) -> bytes:
    """One failure as a JSON line: `step`, `where`, `type`, `message`, and `record` or `raw` (base64).

    A record that JSON does not keep stands as its `repr` under `shown`, and cannot be replayed.
    """
    cause = error.__cause__ or error
    row: dict[str, Any] = {"step": find_step(error), "type": type(cause).__name__, "message": mask(str(cause))}
    if isinstance(error, TidemillError) and error.where:
        row["where"] = mask(error.where)
    if isinstance(error, TidemillError) and error.record is not None:
        row["record"] = error.record
    if isinstance(error, DataError) and error.raw is not None:
        row["raw"] = base64.b64encode(error.raw).decode()
        row["is_cut"] = error.is_cut
    try:
        return orjson.dumps(row, option=_KINDS)
    except TypeError:
        row["shown"] = repr(row.pop("record"))
        return orjson.dumps(row, option=_KINDS)


def iter_failures(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a quarantine file.

    Raises:
        DataError: there is no such file, or it is none.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield parse_line(line.rstrip(b"\n"), where=f"{path}, line {number}")
    except FileNotFoundError as error:
        raise DataError(
            "expected a quarantine file or a run, got a path where there is nothing", where=str(path)
        ) from (error)


def _cannot_write(path: Path, error: OSError) -> ResourceError:
    return ResourceError(f"the quarantine cannot be written: {error.strerror or error}", where=str(path))
