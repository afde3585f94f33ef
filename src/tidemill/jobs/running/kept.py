"""The calls that a run has kept: those in its archives, and those that its ledger still holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import parse_call
from tidemill.jobs.ledger.segments import iter_calls


class Stretch(NamedTuple):
    """Lines of calls that are kept together.

    Attributes:
        lines: those of a record stand together.
        segment: that they were sealed with, None of those in the ledger.
    """

    lines: Iterable[bytes]
    segment: Mapping[str, Any] | None


def iter_kept(folder: RunFolder, ledger: Ledger) -> Iterator[Stretch]:
    """The lines of calls, stretch by stretch: of each archive, then of the ledger.

    A line that is archived may be in the ledger still, along with others that are not: it is given once.
    """
    waiting = dict.fromkeys(line for frame in ledger.iter_frames() for line in frame.split(b"\n"))
    for segment in ledger.load_segments():
        if "calls" in segment:
            yield Stretch(_iter_archived(folder.call_part(segment["number"]), waiting), segment)
    yield Stretch(sorted(waiting, key=lambda line: parse_call(line)[0]), None)


def _iter_archived(path: Path, waiting: dict[bytes, None]) -> Iterator[bytes]:
    for archived in iter_calls(path):
        line = archived.rstrip(b"\n")
        waiting.pop(line, None)
        yield line
