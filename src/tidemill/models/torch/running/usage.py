"""`Usage`: what went through a device, and how much of the time it was busy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Usage:
    """What went through a replica.

    Attributes:
        batches, records: computed; those that failed are not.
        busy_s: seconds in which a batch was on the device.
        first_at, last_at: when the first began and the last ended, by `time.perf_counter`.
        out_of_memory: how often there was no room for a batch.
    """

    batches: int = 0
    records: int = 0
    busy_s: float = 0.0
    first_at: float = 0.0
    last_at: float = 0.0
    out_of_memory: int = 0

    def note(self, records: int, started_at: float, done_at: float) -> None:
        """Note a batch; of several that overlap no moment counts twice."""
        if not self.batches:
            self.first_at = self.last_at = started_at
        self.batches += 1
        self.records += records
        self.busy_s += max(0.0, done_at - max(started_at, self.last_at))
        self.last_at = max(self.last_at, done_at)

    @property
    def busy_ratio(self) -> float:
        """The share of the time from first to last in which a batch was on the device."""
        span = self.last_at - self.first_at
        return min(1.0, self.busy_s / span) if span > 0 else 0.0
