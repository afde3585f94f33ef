"""How many connections are opened at once: slow start, halved by what fails or comes late."""

from __future__ import annotations

from typing import Final

FIRST_DIALS: Final = 16
"""Fewer make short jobs wait for rounds of dials; more come as a burst that a short listen backlog drops."""
MOST_DIALS: Final = 256
"""2,000 connections come about in a dozen rounds; more at once gain few, and are a burst at what is restarting."""
LATE_S: Final = 1.0
"""What a packet that got lost, or found a full backlog, costs before it is sent again (RFC 6298, 2)."""
FIRST_REST_S: Final = 0.05
"""Little is lost by it where the failure was a single one, and a closed port is not asked without a pause."""
LONGEST_REST_S: Final = 1.0
"""How late it is seen that a far side is back, against one round of dials in so long to one that is not."""


class Ramp:
    """The dials that may be under way at once. Pure; its times are those of one monotonic clock, in seconds.

    Starts with 16. Each that succeeds in time while all are used allows one more, so that their number doubles with
    every round, up to 256. One that fails or comes late halves it, once for all those under way at that moment.

    Attributes:
        width: how many may be under way.
    """

    def __init__(self) -> None:
        self.width = FIRST_DIALS
        self._halved_at = float("-inf")
        self._rest_s = 0.0

    def succeed(self, started_at: float, now: float, *, is_used: bool) -> None:
        """A dial succeeded; `is_used` tells whether as many as may be were under way."""
        self._rest_s = 0.0
        if now - started_at > LATE_S:
            self._halve(started_at, now)
        elif is_used:
            self.width = min(self.width + 1, MOST_DIALS)

    def fail(self, started_at: float, now: float) -> float:
        """A dial failed; gives the seconds until the next should start: 0.05, doubled by further failures, up to 1."""
        if self._halve(started_at, now):
            self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
        self._rest_s = max(self._rest_s, FIRST_REST_S)
        return self._rest_s

    def _halve(self, started_at: float, now: float) -> bool:
        if started_at < self._halved_at:
            return False
        self.width = max(self.width // 2, 1)
        self._halved_at = now
        return True
