"""The calls that a run has kept: those in its archives, and those that its ledger still holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import parse_call
from tidemill.jobs.ledger.segments import iter_calls


def iter_kept(folder: RunFolder, ledger: Ledger) -> Iterator[Iterable[bytes]]:
    """The lines of calls, stretch by stretch: of each archive, then of the ledger; those of a record stand together.

    A line that is archived may be in the ledger still, along with others that are not: it is given once.
    """
    waiting = dict.fromkeys(line for frame in ledger.iter_frames() for line in frame.split(b"\n"))
    for segment in ledger.load_segments():
        if "calls" in segment:
            yield _iter_archived(folder.call_part(segment["number"]), waiting)
    yield sorted(waiting, key=lambda line: parse_call(line)[0])


def _iter_archived(path: Path, waiting: dict[bytes, None]) -> Iterator[bytes]:
    for archived in iter_calls(path):
        line = archived.rstrip(b"\n")
        waiting.pop(line, None)
        yield line
