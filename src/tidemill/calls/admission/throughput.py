"""What the far side lets through."""

from __future__ import annotations

from collections import deque
from typing import Final

FEW_ATTEMPTS: Final = 32
"""So many make up the share that is refused: few enough to follow a change at once, enough to tell a tenth."""
SUSTAINED_S: Final = 20.0
"""What is let through at first may come from what has gathered before: a full bucket, say."""


class Throughput:
    """Attempts let through, counted by when they were sent, by steps of a quarter of a second over the last minute.

    One that is on its way counts as let through until it is refused: a refusal comes at once, while an answer may take
    minutes, and what is carried now would be known only then.

    Attributes:
        refused_ratio: of the last few dozen attempts, the share that was refused.
    """

    STEP_S: Final = 0.25
    STEPS: Final = 240
    _PER_S: Final = 4

    def __init__(self) -> None:
        self._steps: deque[list[int]] = deque(maxlen=self.STEPS)  # a step's number, its attempts
        self._number = self._attempts = 0  # of the present step
        self.refused_ratio = 0.0

    def send(self, now: float) -> None:
        """One attempt goes."""
        if self.refused_ratio:
            self.refused_ratio -= self.refused_ratio / FEW_ATTEMPTS
        number = int(now * self._PER_S)
        if number != self._number:
            self._steps.append([self._number, self._attempts])
            self._number, self._attempts = number, 0
        self._attempts += 1

    def refuse(self, sent_at: float) -> None:
        """The attempt sent then was refused."""
        self.refused_ratio += (1 - self.refused_ratio) / FEW_ATTEMPTS
        self.withdraw(sent_at)

    def withdraw(self, sent_at: float) -> None:
        """The attempt that was to be sent then was not sent after all."""
        number = int(sent_at * self._PER_S)
        if number == self._number:
            self._attempts -= 1
            return
        for step in reversed(self._steps):
            if step[0] <= number:
                step[1] -= step[0] == number
                return

    def lately(self, now: float) -> float:
        """Attempts a second over the last minute, or since the first."""
        return self.per_second(now, min(60.0, self._known_s(now)))

    def sustained(self, now: float) -> float:
        """Attempts a second over the last minute; 0.0 until there were some for long enough to say."""
        return self.lately(now) if self._known_s(now) >= SUSTAINED_S else 0.0

    def per_second(self, now: float, over_s: float, *, least: int = 0) -> float:
        """Attempts a second over the last `over_s` seconds, or longer until there are `least`, in whole steps."""
        first = int((now - over_s) * self._PER_S)
        total = self._attempts if self._number >= first else 0
        for number, attempts in reversed(self._steps):
            if number < first:
                if total >= least:
                    break
                first = number
            total += attempts
        return total / max(self.STEP_S, now - first * self.STEP_S)

    def _known_s(self, now: float) -> float:
        return now - self.STEP_S * next((number for number, attempts in self._steps if attempts), self._number)
