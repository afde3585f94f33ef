"""The passes of a run: one over the source, and one for each retry of what stands in quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidemill.jobs.ledger.run import OpenRun

SOURCE_PASS = 0
"""The pass over the source; each `retry` is a pass of its own, numbered from 1."""


@dataclass(frozen=True, slots=True)
class RunPass:
    """One pass of a run: number 0 over the source, each later one a retry of what stood in segments up to `upto`."""

    number: int = 0
    upto: int = 0


def begin_retry(run: OpenRun) -> RunPass:
    """The retry that was cut short, while rows it took up still stand; else a new one over all that stands now."""
    saved = run.ledger.load_meta("retry")
    last = RunPass(saved["number"], saved["upto"]) if saved else RunPass()
    if any(_stands(segment) for segment in run.segments if segment["number"] <= last.upto):
        return last
    begun = RunPass(last.number + 1, run.next_segment - 1)
    run.ledger.save_meta({"retry": {"number": begun.number, "upto": begun.upto}})
    return begun


def _stands(segment: dict[str, Any]) -> bool:
    part = segment.get("quarantine")
    return part is not None and part["rows"] > part["retired"]
