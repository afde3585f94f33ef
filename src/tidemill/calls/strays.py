"""Refusals that come however little is asked: as by one full server of several behind one address."""

from __future__ import annotations

from typing import Final

MEMORY_S: Final = 180.0
LESS_RATIO: Final = 0.7
"""Of the most that a minute carried lately: refusals at so little do not come from too much."""
TELLING: Final = 8
"""Refusals at so little, until they are taken for strays."""
MOST_RATIO: Final = 0.3
"""Of the last few dozen attempts: strays are fewer."""
SLACK: Final = 2.0
LEAST_RATIO: Final = 0.1


class Strays:
    """Tells refusals that asking for less does not prevent from those that it does; a pure state machine.

    Whoever is asked for too much refuses less when asked for less. Where single refusals go on at well below what was
    carried when they began, nothing is gained by falling further: for three minutes, twice as many as there are now
    are passed over; then it is judged anew.
    """

    __slots__ = ("_few", "_most", "_most_at", "_tolerated", "_until")

    def __init__(self) -> None:
        self._few = 0
        self._most = 0.0
        self._most_at = float("-inf")
        self._tolerated = 0.0
        self._until = float("-inf")

    def are_known(self, now: float, ratio: float) -> bool:
        """Whether no more than the strays that were found are refused: `ratio` of the last attempts."""
        return now < self._until and ratio <= self._tolerated

    def find(self, now: float, *, carried: float, before: float, ratio: float) -> float:
        """Take in a refusal that follows on something let through; the attempts a second that may go if it is a stray.

        Args:
            carried: attempts a second that were let through just now.
            before: those that were let through over the last minute.
            ratio: of the last attempts, those refused.

        Returns:
            The most that was carried lately; 0.0 as long as such refusals are not found to be strays.
        """
        if before >= self._most or now - self._most_at > MEMORY_S:
            self._most, self._most_at = before, now
        self._few = self._few + 1 if carried <= LESS_RATIO * self._most and ratio <= MOST_RATIO else 0
        if self._few < TELLING:
            return 0.0
        most, self._most, self._few = self._most, before, 0
        self._tolerated = max(LEAST_RATIO, SLACK * ratio)
        self._until = now + MEMORY_S
        return most
