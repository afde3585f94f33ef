"""What a running run says of itself: `status.json`, rewritten once a second, and what progress is drawn from."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from tidemill.config.types.durations import show_duration
from tidemill.jobs.ledger.folder import RunFolder

RUNNING = "running"
SHOWN_ERROR = 160
"""Characters of an error that are shown in a line."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is.

    Attributes:
        state: `running`, or how it ended (`finished`, `limit`, `errors`, `stopped`, `failed`, `raised`).
        outcomes: records by outcome (landed, dropped, skipped, quarantined) over the life of the run.
        done: records of the source half finished over the life of the run, `before` of them in earlier sittings.
        total: records there are in all, from `--limit` or as far as the source can tell by its size; None when unknown.
        in_flight: calls sent and not committed.
        elapsed_s: seconds of this sitting.
        reason: why it ended.
        details: all that is counted of the calls, as a report has it.
        limits: those of each model, or step that calls without one, that can be changed while it runs, as in force.
        tuned: those of them whose limits were changed since this sitting began.
        latency: what the latency blocks of this sitting came to so far, as a report has it.
        outages: of each endpoint that is out of order, what it keeps calls waiting for: `endpoint`, `error` and
            `gives_up_s`, the seconds until the run ends for it.
    """

    state: str
    outcomes: Mapping[str, int]
    done: int
    before: int
    total: int | None
    in_flight: int
    calls: int
    attempts: int
    input_tokens: int
    output_tokens: int
    usd: float
    elapsed_s: float
    recalled: int = 0
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuned: Sequence[str] = ()
    outages: Sequence[Mapping[str, Any]] = ()
    latency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pid: int = field(default_factory=os.getpid)
    written_at: float = field(default_factory=time.time)

    @property
    def records_per_s(self) -> float:
        """Records finished a second in this sitting."""
        return (self.done - self.before) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds until the end, None when unknown."""
        if self.total is None or self.records_per_s == 0:
            return None
        return max(0.0, (self.total - self.done) / self.records_per_s)

    def to_json(self) -> bytes:
        """The status as a JSON file's bytes."""
        return orjson.dumps(asdict(self) | {"records_per_s": round(self.records_per_s, 2), "eta_s": self.eta_s})


def describe_outage(outage: Mapping[str, Any]) -> str:
    """What an endpoint out of order last answered, and how long it is waited for."""
    error = " ".join(outage["error"].split())
    shown = error if len(error) <= SHOWN_ERROR else f"{error[: SHOWN_ERROR - 1]}…"
    return f"{shown}; gives up in {show_duration(outage['gives_up_s'])}"


class StatusBoard:
    """Publishes a run's status for other processes: a rename, so that a reader never sees half of it."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.status

    def publish(self, status: Status) -> bool:
        """Put `status` in place of the last one, and say whether it stands; a full disk is for the ledger to report."""
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_bytes(status.to_json())
            os.replace(temporary, self._path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return False
        return True

    def keep(self, status: Status) -> None:
        """Leave `status` as the last word of a run whose report cannot be saved.

        On a disk without room for a new file it takes the place of the last one's bytes, which needs none.
        """
        if not self.publish(status):
            with suppress(OSError), open(self._path, "r+b") as file:
                file.write(status.to_json())
                file.truncate()

    def remove(self) -> None:
        """Take the status away: the run is at rest and its report says how it ended."""
        self._path.unlink(missing_ok=True)


def load_status(folder: RunFolder) -> dict[str, Any] | None:
    """The status last published, None when there is none."""
    try:
        status: dict[str, Any] = orjson.loads(folder.status.read_bytes())
    except (OSError, ValueError):
        return None
    return status
