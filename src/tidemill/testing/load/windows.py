"""How much of one thing may come in a window of time: three ways to count, as machines that are told the time.

Each holds `limit` for `window_s` seconds, and takes what it is given: whether that fits is its caller's question.
Times never go back. A limit may change; what was taken stays taken.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import Protocol

from tidemill.testing.load.plan import WindowKind

SLACK = 1e-6
"""Sums of floats are off by less, and no request costs as little: what fits but for this much fits."""

_INSTANT_S = 1e-9


class Window(Protocol):
    """One way to count."""

    limit: float

    def change(self, now: float, limit: float) -> None:
        """Hold `limit` from `now` on."""
        ...

    def room(self, now: float) -> float:
        """How much more may be taken at `now`; below 0 where more was taken than is held by now."""
        ...

    def take(self, now: float, amount: float) -> None:
        """Take `amount` at `now`, whether it fits or not."""
        ...

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until `amount` fits, if nothing more is taken; infinity where it never does."""
        ...

    def reset_s(self, now: float) -> float:
        """Seconds until the whole limit may be taken again."""
        ...


class TokenBucket:
    """Full at first, and refilled steadily: in any `t` seconds at most `limit * (1 + t / window_s)`."""

    def __init__(self, limit: float, window_s: float, now: float) -> None:
        self.limit = limit
        self._window_s = window_s
        self._level = limit
        self._at = now

    def _settle(self, now: float) -> None:
        self._level = min(self.limit, self._level + self.limit * (now - self._at) / self._window_s)
        self._at = now

    def change(self, now: float, limit: float) -> None:
        self._settle(now)
        self.limit = limit
        self._level = min(limit, self._level)

    def room(self, now: float) -> float:
        self._settle(now)
        return self._level

    def take(self, now: float, amount: float) -> None:
        self._settle(now)
        self._level -= amount

    def wait_s(self, now: float, amount: float) -> float:
        missing = amount - self.room(now)
        if missing <= SLACK:
            return 0.0
        return missing * self._window_s / self.limit if amount <= self.limit + SLACK else math.inf

    def reset_s(self, now: float) -> float:
        return (self.limit - self.room(now)) * self._window_s / self.limit if self.limit else 0.0


class _Used(ABC):
    """How much of the limit was taken and still counts."""

    def __init__(self, limit: float, window_s: float) -> None:
        self.limit = limit
        self._window_s = window_s
        self._used = 0.0

    @abstractmethod
    def _settle(self, now: float) -> None:
        """Leave out what counts no more at `now`."""

    def change(self, now: float, limit: float) -> None:
        self._settle(now)
        self.limit = limit

    def room(self, now: float) -> float:
        self._settle(now)
        return self.limit - self._used

    def take(self, now: float, amount: float) -> None:
        self._settle(now)
        self._used += amount


class FixedWindow(_Used):
    """Begins anew at every multiple of `window_s` from the start: at most `limit` between two of them."""

    def __init__(self, limit: float, window_s: float, now: float) -> None:
        super().__init__(limit, window_s)
        self._start = now
        self._index = 0

    def _settle(self, now: float) -> None:
        index = math.floor((now - self._start + _INSTANT_S) / self._window_s)
        if index > self._index:
            self._index = index
            self._used = 0.0

    def wait_s(self, now: float, amount: float) -> float:
        if amount <= self.room(now) + SLACK:
            return 0.0
        return self._left_s(now) if amount <= self.limit + SLACK else math.inf

    def reset_s(self, now: float) -> float:
        self._settle(now)
        return self._left_s(now) if self._used else 0.0

    def _left_s(self, now: float) -> float:
        return max(0.0, self._start + (self._index + 1) * self._window_s - now)


class SlidingWindow(_Used):
    """Looks back from each request: at most `limit` in any `window_s` seconds, wherever they begin."""

    def __init__(self, limit: float, window_s: float, now: float) -> None:
        super().__init__(limit, window_s)
        self._taken: deque[tuple[float, float]] = deque()

    def _settle(self, now: float) -> None:
        taken = self._taken
        while taken and taken[0][0] + self._window_s <= now + _INSTANT_S:
            self._used -= taken.popleft()[1]
        if not taken:
            self._used = 0.0

    def take(self, now: float, amount: float) -> None:
        super().take(now, amount)
        self._taken.append((now, amount))

    def wait_s(self, now: float, amount: float) -> float:
        missing = amount - self.room(now)
        if missing <= SLACK:
            return 0.0
        if amount > self.limit + SLACK:
            return math.inf
        for at, freed in self._taken:
            missing -= freed
            if missing <= SLACK:
                return at + self._window_s - now
        return self.reset_s(now)

    def reset_s(self, now: float) -> float:
        self._settle(now)
        return max(0.0, self._taken[-1][0] + self._window_s - now) if self._taken else 0.0


_WINDOWS: dict[WindowKind, type[TokenBucket] | type[FixedWindow] | type[SlidingWindow]] = {
    "bucket": TokenBucket,
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
}


def open_window(kind: WindowKind, limit: float, window_s: float, now: float) -> Window:
    """An unused window of the kind, from `now` on."""
    return _WINDOWS[kind](limit, window_s, now)
