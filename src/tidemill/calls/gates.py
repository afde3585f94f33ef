"""Where the engine waits: slots, the quota's pace, an endpoint that is down, the budget. Each first in, first out.

A gate wraps a pure state machine and hands what it grants to the one who has waited longest. Who is cancelled while
waiting leaves the line; who is cancelled with the grant already in hand passes it on. All belong to one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from tidemill.calls.breaker import Breaker
from tidemill.calls.budget import NOTHING, BudgetLedger, Spend
from tidemill.calls.concurrency import AdaptiveLimit
from tidemill.calls.wire import UnreachableError
from tidemill.errors import CallError, PermanentCallError, TransientCallError

T = TypeVar("T")

logger = logging.getLogger(__name__)

CommitLease = Callable[[Spend], Awaitable[object]]


class _Line(Generic[T]):
    """Those who wait, in order; each gets one grant of type T."""

    def __init__(self) -> None:
        self._futures: deque[asyncio.Future[T]] = deque()

    def __bool__(self) -> bool:
        futures = self._futures
        while futures and futures[0].done():
            futures.popleft()
        return bool(futures)

    def grant(self, value: T) -> None:
        """Give `value` to the first; call it only on a line that is true."""
        self._futures.popleft().set_result(value)

    async def wait(self, pass_on: Callable[[T], object]) -> T:
        """The grant, when its turn comes; one that is cancelled too late to be skipped goes to `pass_on`."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():
                pass_on(future.result())
            raise


USED_RATIO: Final = 0.9
"""Of the slots: taken so far, they hold back those who wait for one."""


class SlotGate:
    """A lane's slots, as many as its limit says just now. Calls that come again go before those that are new."""

    __slots__ = ("_again", "_limit", "_line", "_waiting", "in_use")

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit
        self._line: _Line[None] = _Line()
        self._again: _Line[None] = _Line()
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
        if self._waiting and (self._again or not (again or not self._line)):
            return False
        self.in_use += 1
        return True

    async def wait(self, *, again: bool = False) -> None:
        """Take a slot when one is handed over."""
        self._waiting += 1
        try:
            await (self._again if again else self._line).wait(self._pass_on)
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Put a slot back, and hand out what there is."""
        self.in_use -= 1
        if self._waiting:
            self.serve()

    def serve(self) -> None:
        """Hand out what there is to those who wait."""
        while self.in_use < self._limit.limit and (line := self._again or self._line):
            self.in_use += 1
            line.grant(None)

    def _pass_on(self, _: None) -> None:
        self.release()


TICK_S: Final = 1e-4
"""No timer is shorter: a wait beyond what a float of the clock can express would never pass."""

Take = Callable[[float], float]
"""Takes what somebody waits for and gives 0.0, or gives the seconds to wait until it is worth asking again."""


class TimedGate:
    """Those who wait for a moment: a quota's, a pace's, a retry's. Calls that come again go before the new ones."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._line: deque[tuple[asyncio.Future[None], Take]] = deque()
        self._again: deque[tuple[asyncio.Future[None], Take]] = deque()
        self._timer: asyncio.Handle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits."""
        return bool(self._line or self._again)

    def is_next(self, *, again: bool) -> bool:
        """Whether one that comes now, again or new, waits for nobody."""
        return not self._again and (again or not self._line)

    def take(self, take: Take) -> bool:
        """Whether `take` got it at once."""
        return self.is_next(again=False) and take(self._loop.time()) <= 0.0

    async def wait(self, take: Take, give_back: Callable[[], object], *, again: bool = False) -> None:
        """Until `take` got it; one that is cancelled after that calls `give_back`."""
        future: asyncio.Future[None] = self._loop.create_future()
        (self._again if again else self._line).append((future, take))
        if again or self._timer is None:
            self._look_at(0.0)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():
                give_back()
            raise

    def serve(self) -> None:
        """Give those in front what there is; call it when there may be more than was expected."""
        if self._line or self._again:
            self._serve()

    def _serve(self) -> None:
        self._cancel()
        while line := self._again or self._line:
            future, take = line[0]
            if not future.done():
                wait_s = take(self._loop.time())
                if wait_s > 0.0:
                    self._look_at(max(wait_s, TICK_S))
                    return
                future.set_result(None)
            line.popleft()

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


class EndpointGate:
    """An endpoint's breaker, and those who wait for it to close or for their turn to probe it.

    Attributes:
        on_return: called when it answers again after an outage, before those who wait go.
        in_flight: attempts on their way to it.
    """

    def __init__(self, label: str, breaker: Breaker, loop: asyncio.AbstractEventLoop, *, connect_s: float) -> None:
        self.label = label
        self._connect_s = connect_s
        self.breaker = breaker
        self._loop = loop
        self._line: _Line[int | CallError] = _Line()
        self._timer: asyncio.TimerHandle | None = None
        self._last = ""
        self.on_return: list[Callable[[], object]] = []
        self.in_flight = 0
        self._for_news: list[asyncio.Future[None]] = []

    async def enter(self) -> int:
        """Wait until a call may go; the number of the probe when it goes as one, else 0.

        Raises:
            CallError: of the run: the endpoint stayed away for longer than the limits allow.
        """
        if not self._line:
            now = self._loop.time()
            probe = self.breaker.acquire_probe(now)
            if probe or self.breaker.is_closed:
                return probe
            if self.breaker.has_given_up(now):
                raise self.failure()
            self._timer = self._timer or self._loop.call_at(self.breaker.next_event_at(), self._serve)
        granted = await self._line.wait(self._pass_on)
        if isinstance(granted, CallError):
            raise granted
        return granted

    async def wait_for_news(self) -> None:
        """Until it answers somebody, is found out of order, or nobody else is left who could tell."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._for_news.append(future)
        await future

    def tell_news(self) -> None:
        """Let those who wait for news look again."""
        waiting, self._for_news = self._for_news, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _pass_on(self, granted: int | CallError) -> None:
        if not isinstance(granted, CallError):
            self.return_probe(granted)

    def return_probe(self, probe: int) -> None:
        """The probe was not sent, or not to its end; the next in line sends it. Nothing when it is 0 or over."""
        self.breaker.return_probe(self._loop.time(), probe)
        self._serve()

    def succeed(self) -> None:
        """The endpoint answered: everyone goes."""
        if not self.breaker.is_closed:
            logger.info("%s answers again", self.label)
            for tell in self.on_return:
                tell()
        self.breaker.succeed()
        self.tell_news()
        self._serve()

    def fail(self, error: CallError, *, sent_at: float, counts: bool, probe: int) -> None:
        """An attempt failed for the endpoint's reasons; see `Breaker.fail`."""
        self._last = error.message
        was_closed = self.breaker.is_closed
        self.breaker.fail(
            self._loop.time(),
            sent_at=sent_at,
            connected=not isinstance(error, UnreachableError),
            counts=counts,
            in_flight=self.in_flight,
            probe=probe,
            retry_after_s=error.retry_after_s or 0.0,
        )
        if was_closed and not self.breaker.is_closed:
            logger.warning("%s is out of order, calls wait: %s", self.label, self._last)
            self.tell_news()
        self._serve()

    def failure(self, *, status: int | None = None) -> CallError:
        """The run's failure, once the breaker has given up."""
        if not self.breaker.was_reached():
            address = urlsplit(self.label).netloc or self.label
            return PermanentCallError(
                f"no connection to {address} for {self._connect_s:g} s ({self._last})",
                hint="check base_url, the network and that the server runs",
                of="run",
            )
        return TransientCallError(
            f"no usable answer for longer than outage_s: {self._last}",
            where=self.label,
            hint="run again when the endpoint is back; if only these requests fail, raise limits.breaker_failures",
            of="run",
            status=status,
        )

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        breaker, now = self.breaker, self._loop.time()
        while self._line:
            if breaker.is_closed:
                self._line.grant(0)
            elif breaker.has_given_up(now):
                self._line.grant(self.failure())
            elif probe := breaker.acquire_probe(now):
                self._line.grant(probe)
            else:
                self._timer = self._loop.call_at(breaker.next_event_at(), self._serve)
                return

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()


class BudgetGate:
    """The budget, those who wait for it, and the one task that makes its next lease durable."""

    def __init__(self, ledger: BudgetLedger, commit_lease: CommitLease | None) -> None:
        self.ledger = ledger
        self._commit_lease = commit_lease
        self._line: deque[tuple[asyncio.Future[BaseException | None], Spend]] = deque()
        self._task: asyncio.Task[None] | None = None

    def reserve(self, ceiling: Spend) -> bool:
        """Whether `ceiling` is reserved at once."""
        return not self._line and self.ledger.reserve(ceiling)

    async def wait(self, ceiling: Spend) -> None:
        """Until `ceiling` is reserved.

        Raises:
            BudgetError: the budget cannot take it, and nothing in flight may still give back.
            Exception: what committing the lease raised.
        """
        future: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._line.append((future, ceiling))
        self.serve()
        try:
            refused = await future
        except asyncio.CancelledError:
            if future.cancelled():
                self.serve()
            elif future.result() is None:
                self.release(ceiling)
            raise
        if refused is not None:
            raise refused

    def settle(self, ceiling: Spend, cost: Spend | None) -> None:
        """See `BudgetLedger.settle`."""
        self.ledger.settle(ceiling, cost)
        if self._line or self.ledger.is_low:
            self.serve()

    def refuse(self, ceiling: Spend) -> None:
        """See `BudgetLedger.refuse`."""
        self.ledger.refuse(ceiling)
        self.serve()

    def release(self, ceiling: Spend) -> None:
        """See `BudgetLedger.release`."""
        self.ledger.release(ceiling)
        self.serve()

    def serve(self) -> None:
        """Give those who wait what there is now, and widen the lease when it runs low."""
        while self._line:
            future, need = self._line[0]
            if not future.done():
                if self.ledger.reserve(need):
                    future.set_result(None)
                elif self.ledger.judge(need) == "never":
                    future.set_result(self.ledger.refusal(need))
                else:
                    break
            self._line.popleft()
        self._widen()

    def _widen(self) -> None:
        if self._commit_lease is None or self._task is not None:
            return
        waiting = NOTHING
        for future, need in self._line:
            if not future.done():
                waiting = waiting.plus(need)
        lease = self.ledger.next_lease(waiting)
        if lease is not None:
            self._task = asyncio.get_running_loop().create_task(self._commit(self._commit_lease, lease))

    async def _commit(self, commit_lease: CommitLease, lease: Spend) -> None:
        failure: Exception | None = None
        try:
            await commit_lease(lease)
        except Exception as exc:  # noqa: BLE001 - what the disk said goes to those who wait; with none, one asks again
            failure = exc
        self._task = None
        if failure is None:
            self.ledger.widen(lease)
            self.serve()
        else:
            self._fail(failure)

    def _fail(self, error: BaseException) -> None:
        for future, _ in self._line:
            if not future.done():
                future.set_result(error)
        self._line.clear()

    async def close(self) -> None:
        """Make what is really spent the lease; call it when nothing is in flight."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._commit_lease is not None and self.ledger.lease != self.ledger.final_lease():
            await self._commit_lease(self.ledger.final_lease())
            self.ledger.widen(self.ledger.final_lease())
