"""Refusals that come however little is asked: as by one full server of several behind one address."""

from __future__ import annotations

from typing import Final

MEMORY_S: Final = 180.0
"""Long enough that finding them again costs little, short enough to follow a far side that takes less by now."""
LESS_RATIO: Final = 0.7
"""Of the most that a minute carried lately: refusals at so little do not come from too much."""
TELLING: Final = 8
"""Refusals at so little, until they are taken for strays."""
FEW_RATIO: Final = 0.3
"""Of the last few dozen attempts: as long as fewer are refused, it may be whatever one asks for."""
SLACK: Final = 1.5
LEAST_RATIO: Final = 0.1
"""Strays are passed over up to so many times those found, and up to this share: so few chance may make of fewer."""


class Strays:
    """Tells refusals that asking for less does not prevent from those that it does; a pure state machine.

    Whoever is asked for too much refuses less when asked for less. Where single refusals go on at well below what was
    carried when they began, nothing is gained by falling further: for three minutes, half as many again as the
    most that there were are passed over; then it is judged anew.
    """

    __slots__ = ("_few", "_most", "_most_at", "_ratio", "_tolerated", "_until")

    def __init__(self) -> None:
        self._few = 0
        self._ratio = 0.0
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
        if carried > LESS_RATIO * self._most or ratio > FEW_RATIO:
            self._few, self._ratio = 0, 0.0
            return 0.0
        self._few += 1
        self._ratio = max(self._ratio, ratio)
        if self._few < TELLING:
            return 0.0
        self._tolerated = max(LEAST_RATIO, SLACK * self._ratio)
        most, self._most, self._few, self._ratio = self._most, before, 0, 0.0
        self._until = now + MEMORY_S
        return most
