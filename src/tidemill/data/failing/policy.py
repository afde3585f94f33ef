"""What becomes of the records that fail in plain iteration: raised, or passed over and counted."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from tidemill.errors import CallError, DataError, TidemillError, WorkerError

SOURCE = "source"
"""The step that an error of reading belongs to."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Losses:
    """Records that were passed over, by step, since the iterator began."""

    skipped: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)


def is_of_record(error: BaseException) -> bool:
    """Whether only a record failed: not a file that is gone, a foreign state, the program's end."""
    return isinstance(error, (DataError, WorkerError, CallError)) and error.of == "record"


@dataclass(frozen=True, slots=True)
class Policy:
    """What errors of records get at one step.

    Attributes:
        skips: they are passed over and counted; otherwise raised.
        keeps: the record goes with its error, for a quarantine to hold.
        isolates: as in a job: a function is given a copy of the record, so that it is kept as it came, and fails the
            record alone, also by what would end the process.
    """

    skips: bool
    keeps: bool
    losses: Losses
    isolates: bool = False

    def takes(self, error: BaseException) -> bool:
        """Whether `error` is passed over; it is then counted."""
        if not (self.skips and is_of_record(error)):
            return False
        step = find_step(error)
        self.losses.skipped[step] += 1
        _log.info("step `%s` skipped a record: %s", step, error)
        return True


def find_step(error: BaseException) -> str:
    """The step that a record failed at."""
    return (error.step if isinstance(error, TidemillError) else "") or SOURCE
