"""Whether an endpoint may be called: one breaker per base URL."""

from __future__ import annotations

import random

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 3.0
"""Long enough that an outage of minutes is asked a few dozen times, short enough that its end is seen soon."""


class Breaker:
    """Closed, open, or half open with one probe on its way; a pure state machine.

    It opens when `failures` calls in a row, and half of those on their way, found no connection, no answer in time, a
    cut one or a 5xx: bad answers that come sooner than good ones are no row of their own. While it is
    open calls wait, and one of them at a time is let through to probe, after pauses that double from 0.5 s to 3 s
    (a fifth of `connect_s` for an endpoint never reached).
    Any answer closes it. Open for `outage_s`, or without ever a connection for `connect_s` from the first try, it
    has given up: those who wait fail, and later calls fail at once unless it is time for a probe.

    Attributes:
        is_closed: calls go out freely.
        is_calm: closed, and nothing that a success would have to clear.
        streak: the number of the present row of failures; a success starts a new one.
    """

    __slots__ = (
        "_connect_s",
        "_failures",
        "_first_try_at",
        "_limit",
        "_opened_at",
        "_outage_s",
        "_pauses",
        "_probe",
        "_probe_at",
        "_probes",
        "_reached",
        "_rng",
        "is_calm",
        "is_closed",
        "streak",
    )

    def __init__(self, *, failures: int, connect_s: float, outage_s: float, rng: random.Random) -> None:
        self._limit = failures
        self._connect_s = connect_s
        self._outage_s = outage_s
        self._rng = rng
        self._first_try_at: float | None = None
        self._reached = False
        self._probes = 0
        self.streak = 0
        self._close()
        self.is_calm = False

    def _close(self) -> None:
        self.is_closed = True
        self.is_calm = True
        self._failures = 0
        self._pauses = 0
        self._probe = 0
        self._opened_at = self._probe_at = float("inf")

    def acquire_probe(self, now: float) -> int:
        """The number of the probe the caller is to send now; 0 when none is due, or one is on its way."""
        if self.is_closed or self._probe or now < self._probe_at:
            return 0
        self._probes += 1
        self._probe = self._probes
        return self._probe

    def return_probe(self, now: float, probe: int) -> None:
        """The probe of this number says nothing: it was not sent, or was cancelled on its way."""
        if probe and self._probe == probe:
            self._probe = 0
            self._probe_at = now

    def succeed(self) -> None:
        """The endpoint answered."""
        self._reached = True
        self.streak += 1
        self._close()

    def fail(
        self,
        now: float,
        *,
        sent_at: float,
        connected: bool,
        counts: bool,
        in_flight: int = 0,
        probe: int = 0,
        retry_after_s: float = 0.0,
    ) -> None:
        """An attempt sent at `sent_at` failed for the endpoint's reasons.

        Args:
            connected: a connection had come about.
            counts: False for a further failure of the same call in one streak, which is no further evidence.
            in_flight: attempts that are still on their way.
            probe: the number of the probe it was, 0 when it was none.
            retry_after_s: the endpoint asked for this pause before the next probe.
        """
        self.is_calm = False
        self._reached = self._reached or connected
        if self._first_try_at is None:
            self._first_try_at = sent_at
        if self.is_closed:
            self._failures += counts
            if self._failures < max(self._limit, in_flight):
                return
            self.is_closed = False
            self._opened_at = now
        elif not probe or probe != self._probe:
            self._probe_at = max(self._probe_at, now + retry_after_s)
            return
        self._probe = 0
        longest_s = LONGEST_PAUSE_S if self._reached else self._connect_s / 5
        pause_s = min(longest_s, FIRST_PAUSE_S * 2**self._pauses) * self._rng.uniform(0.5, 1.0)
        self._pauses = min(self._pauses + 1, 16)
        self._probe_at = now + max(pause_s, retry_after_s)

    def gives_up_at(self) -> float:
        """When those who wait for this endpoint fail; infinity while nothing is wrong."""
        if not self._reached and self._first_try_at is not None:
            return self._first_try_at + self._connect_s
        return self._opened_at + self._outage_s

    def has_given_up(self, now: float) -> bool:
        """Whether the endpoint is the run's failure by now."""
        return now >= self.gives_up_at()

    def was_reached(self) -> bool:
        """Whether a connection ever came about."""
        return self._reached

    def next_event_at(self) -> float:
        """When someone who waits should look again: the next probe is due or it gives up."""
        return self.gives_up_at() if self._probe else min(self._probe_at, self.gives_up_at())
