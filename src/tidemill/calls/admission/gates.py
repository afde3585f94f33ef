"""Where a lane's calls wait for a slot or a moment: first in first out, those that come again before new ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tidemill.calls.admission.concurrency import AdaptiveLimit
from tidemill.calls.admission.line import Line

USED_RATIO: Final = 0.9
"""Of the slots: taken so far, they hold back those who wait for one."""
TICK_S: Final = 1e-4
"""No timer is shorter: a wait beyond what a float of the clock can express would never pass."""

Take = Callable[[float], float]
"""Takes what somebody waits for and gives 0.0, or gives the seconds to wait until it is worth asking again."""


class SlotGate:
    """A lane's slots, as many as its limit says just now.

    Attributes:
        in_use: how many are taken.
    """

    __slots__ = ("_limit", "_line", "_waiting", "in_use")

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit
        self._line: Line[None, None] = Line()
        self._waiting = 0
        self.in_use = 0

    @property
    def is_used(self) -> bool:
        """Whether as good as all slots are taken."""
        return self.in_use >= USED_RATIO * self._limit.limit

    def take(self, *, again: bool = False) -> bool:
        """Whether a slot is taken at once."""
        if self.in_use >= self._limit.limit:
            return False
        if self._waiting and not self._line.is_next(again=again):
            return False
        self.in_use += 1
        return True

    async def wait(self, *, again: bool = False) -> None:
        """Take a slot when one is handed over."""
        self._waiting += 1
        try:
            await self._line.wait(self._line.join(None, again=again), self._pass_on)
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Put a slot back, and hand out what there is."""
        self.in_use -= 1
        if self._waiting:
            self.serve()

    def serve(self) -> None:
        """Hand out what there is to those who wait."""
        while self.in_use < self._limit.limit and self._line:
            self.in_use += 1
            self._line.grant(None)

    def _pass_on(self, _: None) -> None:
        self.release()


class TimedGate:
    """Those who wait for a moment: a quota's, a pace's, a retry's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._line: Line[Take, None] = Line()
        self._timer: asyncio.Handle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits."""
        return bool(self._line)

    def take(self, take: Take, *, again: bool = False) -> bool:
        """Whether `take` got it at once."""
        return self._line.is_next(again=again) and take(self._loop.time()) <= 0.0

    async def wait(self, take: Take, give_back: Callable[[], object], *, again: bool = False) -> None:
        """Until `take` got it; one that is cancelled after that calls `give_back`."""
        place = self._line.join(take, again=again)
        if again or self._timer is None:
            self._look_at(0.0)
        await self._line.wait(place, lambda _: give_back())

    def serve(self) -> None:
        """Give those in front what there is; call it when there may be more than was expected."""
        if self._line:
            self._serve()

    def _serve(self) -> None:
        self._cancel()
        while self._line:
            wait_s = self._line.first(self._loop.time())
            if wait_s > 0.0:
                self._look_at(max(wait_s, TICK_S))
                return
            self._line.grant(None)

    def _look_at(self, delay_s: float) -> None:
        self._cancel()
        self._timer = self._loop.call_later(delay_s, self._serve) if delay_s else self._loop.call_soon(self._serve)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Stop the timer."""
        self._cancel()
