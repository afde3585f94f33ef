"""A quota at work: what fits, what was taken, and what is told about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from tidemill.testing.load.plan import Quota
from tidemill.testing.load.windows import SLACK, open_window


class Cost(NamedTuple):
    """What one request takes from quotas: its input, its output as billed, and the most its output could be."""

    input_tokens: int
    output_tokens: int
    ceiling: int

    def in_units(self, quota: Quota) -> Mapping[str, float]:
        """The cost in each unit, as the quota counts it."""
        output = self.ceiling if quota.counts == "ceiling" else self.output_tokens
        return {
            "requests": 1,
            "tokens": self.input_tokens + output,
            "input_tokens": self.input_tokens,
            "output_tokens": output,
        }


class Standing(NamedTuple):
    """Where one unit of a quota stands.

    Attributes:
        per_minute: the rate, as providers tell a limit.
        limit: what a window holds.
        remaining: of that, what may still be taken.
        reset_s: seconds until all of it may be taken again.
    """

    unit: str
    per_minute: float
    limit: float
    remaining: float
    reset_s: float


class Excess(NamedTuple):
    """Why a request does not fit: the unit, and the seconds until it would; infinity where it never will."""

    unit: str
    wait_s: float


class Meter:
    """The windows of one quota, by unit; a request fits when it fits into all of them.

    Times never go back; they count from the start of the load.
    """

    def __init__(self, quota: Quota, now: float = 0.0) -> None:
        self.quota = quota
        self._windows = {
            unit: open_window(quota.kind, limit * self._factor(now), quota.window_s, now)
            for unit, limit in quota.limits.items()
        }
        self._now = now

    def _factor(self, now: float) -> float:
        return self.quota.steps.factor(now) if self.quota.steps is not None else 1.0

    def _settle(self, now: float) -> None:
        steps = self.quota.steps
        if steps is not None:
            for at_s in steps.boundaries(self._now, now):
                for unit, window in self._windows.items():
                    window.change(at_s, self.quota.limits[unit] * steps.factor(at_s))
        self._now = max(now, self._now)

    def find_excess(self, now: float, costs: Mapping[str, float]) -> Excess | None:
        """What a request that costs so much, by unit, does not fit into at `now`; None when it fits.

        Of several units it is the one that takes longest. A step of the quota that comes meanwhile is not foreseen.
        """
        self._settle(now)
        worst: Excess | None = None
        for unit, window in self._windows.items():
            wait_s = window.wait_s(now, costs.get(unit, 0))
            if wait_s > 0 and (worst is None or wait_s > worst.wait_s):
                worst = Excess(unit, wait_s)
        return worst

    def take(self, now: float, costs: Mapping[str, float]) -> None:
        """Take so much, by unit, at `now`, whether it fits or not."""
        self._settle(now)
        for unit, window in self._windows.items():
            window.take(now, costs.get(unit, 0))

    def take_refused(self, now: float) -> None:
        """Count a request that was refused, where the quota counts those."""
        window = self._windows.get("requests")
        if self.quota.counts_refused and window is not None:
            self._settle(now)
            window.take(now, 1)

    def standings(self, now: float) -> list[Standing]:
        """Where every unit stands at `now`."""
        self._settle(now)
        return [
            Standing(
                unit,
                window.limit * 60 / self.quota.window_s,
                window.limit,
                max(0.0, window.room(now)),
                window.reset_s(now),
            )
            for unit, window in self._windows.items()
        ]

    def room(self, now: float, costs: Mapping[str, float]) -> float:
        """How many requests that cost so much, by unit, fit at `now`; infinity where nothing they cost is bounded."""
        self._settle(now)
        fitting = [
            math.floor((window.room(now) + SLACK) / costs[unit])
            for unit, window in self._windows.items()
            if costs.get(unit, 0) > 0
        ]
        return max(0, min(fitting)) if fitting else math.inf


def join_standings(meters: list[Meter], now: float) -> list[Standing]:
    """One standing a unit: of several quotas the one with the least left, by share."""
    tightest: dict[str, Standing] = {}
    for meter in meters:
        for standing in meter.standings(now):
            other = tightest.get(standing.unit)
            if other is None or standing.remaining * other.limit < other.remaining * standing.limit:
                tightest[standing.unit] = standing
    return list(tightest.values())
