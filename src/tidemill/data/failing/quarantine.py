"""A quarantine file: the records that failed, whole, with step, place and cause; one JSON line each."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec

from tidemill.data.failing.failures import clean
from tidemill.data.failing.policy import find_step
from tidemill.data.records.exact import to_exact_json
from tidemill.errors import DataError, ResourceError, TidemillError

_MAX_SHOWN = 2_000
"""Characters kept of a record that JSON does not keep."""


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

    Values that JSON lacks are written as `exact` says. A record with an object of another type in it stands as text
    under `shown`, and cannot be replayed; of raw bytes `is_cut` says whether they are not all that stood there.
    """
    cause = error.__cause__ or error
    kind = type(cause).__name__
    told = error.message if isinstance(error, TidemillError) else str(error)
    row: dict[str, Any] = {"step": find_step(error), "type": kind, "message": clean(told).removeprefix(f"{kind}: ")}
    if isinstance(error, TidemillError) and error.where:
        row["where"] = clean(error.where)
    if isinstance(error, DataError) and error.raw is not None:
        row["raw"] = base64.b64encode(error.raw).decode()
        row["is_cut"] = error.is_cut
    if isinstance(error, TidemillError) and error.has_record:
        try:
            return msgspec.json.encode({**row, "record": to_exact_json(error.record)}) + b"\n"
        except (TypeError, ValueError, RecursionError):
            row["shown"] = show(error.record)
    return msgspec.json.encode(row) + b"\n"


def show(record: Any) -> str:
    """A record as text, whatever it is; cut."""
    try:
        return ascii(record)[:_MAX_SHOWN]
    except Exception as failed:  # noqa: BLE001 - a user's object may fail at this, and one too deep does
        return f"a {type(record).__name__} that cannot be shown: {type(failed).__name__}"


def _cannot_write(path: Path, error: OSError) -> ResourceError:
    return ResourceError(f"the quarantine cannot be written: {error.strerror or error}", where=str(path))
