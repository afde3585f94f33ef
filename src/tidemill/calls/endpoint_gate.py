"""Where calls wait for an endpoint that is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from tidemill.calls.admission.line import Line
from tidemill.calls.breaker import Breaker
from tidemill.calls.wire import UnreachableError
from tidemill.errors import CallError, PermanentCallError, TransientCallError

logger = logging.getLogger(__name__)


class Outage(NamedTuple):
    """What an endpoint that is out of order keeps calls waiting for.

    Attributes:
        endpoint: its host, or what else it is called by.
        error: what it last said, or how it could not be reached.
        gives_up_s: seconds until those who wait fail.
    """

    endpoint: str
    error: str
    gives_up_s: float


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
        self._line: Line[None, int | CallError] = Line()
        self._timer: asyncio.TimerHandle | None = None
        self._last = ""
        self.on_return: list[Callable[[], object]] = []
        self.in_flight = 0
        self._for_news: list[asyncio.Future[None]] = []

    @property
    def outage(self) -> Outage | None:
        """What calls wait for just now; None while they go."""
        if self.breaker.is_closed:
            return None
        gives_up_s = max(0.0, self.breaker.gives_up_at() - self._loop.time())
        return Outage(urlsplit(self.label).netloc or self.label, self._last, gives_up_s)

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
        granted = await self._line.wait(self._line.join(None), self._pass_on)
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
                hint="check the address (a model's `base_url`, a store's `url`), the network and that the server runs",
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
