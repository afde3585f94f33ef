"""What the far side lets through."""

from __future__ import annotations

from collections import deque
from typing import Final

FEW_ATTEMPTS: Final = 32
SUSTAINED_S: Final = 20.0
"""What is let through at first may come from what has gathered before: a full bucket, say."""


class Throughput:
    """Good replies, counted by steps of a quarter of a second over the last minute.

    Attributes:
        refused_ratio: of the last few dozen attempts, the share that was refused.
    """

    STEP_S: Final = 0.25
    STEPS: Final = 240
    _PER_S: Final = 4

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int]] = deque(maxlen=self.STEPS)  # a step's number, its replies
        self._number = self._replies = 0  # of the present step
        self.refused_ratio = 0.0

    def add(self, now: float) -> None:
        """One good reply came."""
        if self.refused_ratio:
            self.refused_ratio -= self.refused_ratio / FEW_ATTEMPTS
        number = int(now * self._PER_S)
        if number != self._number:
            self._steps.append((self._number, self._replies))
            self._number, self._replies = number, 0
        self._replies += 1

    def refuse(self) -> None:
        """One attempt was refused."""
        self.refused_ratio += (1 - self.refused_ratio) / FEW_ATTEMPTS

    def lately(self, now: float) -> float:
        """Good replies a second over the last minute, or since the first."""
        return self.per_second(now, min(60.0, self._known_s(now)))

    def sustained(self, now: float) -> float:
        """Good replies a second over the last minute; 0.0 until there were some for long enough to say."""
        return self.lately(now) if self._known_s(now) >= SUSTAINED_S else 0.0

    def _known_s(self, now: float) -> float:
        return now - self.STEP_S * next((number for number, replies in self._steps if replies), self._number)

    def per_second(self, now: float, over_s: float, *, least: int = 0) -> float:
        """Good replies a second over the last `over_s` seconds, or longer until there are `least`, in whole steps."""
        first = int((now - over_s) * self._PER_S)
        total = self._replies if self._number >= first else 0
        for number, replies in reversed(self._steps):
            if number < first:
                if total >= least:
                    break
                first = number
            total += replies
        return total / max(self.STEP_S, now - first * self.STEP_S)
