"""Requests per minute: when the next one may go."""

from __future__ import annotations

WINDOW_S = 60.0
SHARE_RATIO = 0.98
"""The share of the limit that is used: what is left over covers the burst and the network's jitter."""
BURST_S = 1.0


class Quota:
    """At most `requests_per_minute` in any 60 s, wherever the 60 s start; a pure state machine.

    The generic cell rate algorithm (ITU-T I.371): 0.98 N / 60 a second with one second of burst. A closed
    window of 60 s then holds at most `floor(0.98 N + max(1, 0.98 N / 60)) <= N`.
    """

    __slots__ = ("_due_s", "_interval_s", "_tolerance_s")

    def __init__(self, requests_per_minute: int) -> None:
        self._due_s = float("-inf")
        self.change(requests_per_minute)

    def change(self, requests_per_minute: int) -> None:
        """Go at another pace from the next request on."""
        self._interval_s = WINDOW_S / (SHARE_RATIO * requests_per_minute)
        self._tolerance_s = max(0.0, BURST_S - self._interval_s)

    def take(self, now: float) -> float:
        """0.0 when a request may go now, which it then counts; else the seconds until one may, none counted."""
        wait_s = self._due_s - self._tolerance_s - now
        if wait_s > 0:
            return wait_s
        self._due_s = max(self._due_s, now) + self._interval_s
        return 0.0
