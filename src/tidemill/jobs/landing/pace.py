"""The pace of a run: how many records finish a second, of late."""

from __future__ import annotations

FIRST_PER_S = 10.0
"""What is assumed until it is known: the first record may take as long as it likes."""


class Pace:
    """Counts records that finish; what is long ago counts less and less.

    Args:
        now: the time at which counting begins.
        memory_s: when so much time is counted, half of it is forgotten.
    """

    def __init__(self, now: float, *, memory_s: float) -> None:
        self._since = now
        self._memory_s = memory_s
        self._count = 0.0

    def note(self, count: int) -> None:
        """So many more finished."""
        self._count += count

    def estimate(self, now: float) -> float:
        """Records a second; while none has finished, what can still be hoped for."""
        counted_s = now - self._since
        if counted_s > self._memory_s:
            self._count /= 2
            self._since = now - counted_s / 2
            counted_s /= 2
        return max(self._count, 1.0) / max(counted_s, 1 / FIRST_PER_S)
