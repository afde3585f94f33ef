"""What becomes of each request under a load: let in, and for how long it is held, or refused, and why."""

from __future__ import annotations

import hashlib
import math
from typing import Literal, NamedTuple

from tidemill.testing.load.meter import Cost, Meter, Standing, join_standings
from tidemill.testing.load.plan import Load, Outage
from tidemill.testing.load.queue import ServiceQueue

Refusal = Literal["quota", "capacity"]


class Verdict(NamedTuple):
    """What becomes of one request.

    Attributes:
        delay_s: of one let in, the seconds until its reply is due, besides the server's own latency.
        refusal: why it is refused; None when it is let in.
        status: of a refused one.
        unit: of one that a quota refuses, what there were too many of.
        retry_after_s: when a refused one may come again; None when that is not told.
        standings: where the quotas stand behind it, as far as that is told.
        is_excess: it came beyond a quota, refused for that or not.
    """

    delay_s: float = 0.0
    refusal: Refusal | None = None
    status: int = 200
    unit: str = ""
    retry_after_s: float | None = None
    standings: tuple[Standing, ...] = ()
    is_excess: bool = False


class Request(NamedTuple):
    """What a load knows of a request: its body's digest, how often that came, and what it costs."""

    digest: bytes
    times: int
    cost: Cost


class Admission:
    """A load at work. Times are seconds from its start and never go back; belongs to one loop."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.held = 0
        self._meters = [Meter(quota) for quota in load.quotas]
        self._queue = ServiceQueue(load.queue.servers) if load.queue is not None else None

    def find_outage(self, now: float, digest: bytes, times: int) -> Outage | None:
        """The outage that a request coming at `now` runs into."""
        for number, outage in enumerate(self.load.outages):
            if outage.is_on(now) and (
                outage.ratio == 1 or self._draw(f"outage {number}", digest, times) < outage.ratio
            ):
                return outage
        return None

    def arrive(self, now: float, request: Request) -> Verdict:
        """Let a request in, which then is held until `release`, or refuse it."""
        is_excess = False
        for meter in self._meters:
            excess = meter.find_excess(now, request.cost.in_units(meter.quota))
            if excess is None:
                continue
            is_excess = True
            if meter.quota.enforced:
                for each in self._meters:
                    each.take_refused(now)
                wait_s = excess.wait_s if math.isfinite(excess.wait_s) and self.load.retry_after else None
                return Verdict(0.0, "quota", 429, excess.unit, wait_s, self._standings(now), is_excess)
        capacity = self.load.capacity
        if capacity is not None and self.held >= self._capacity_at(now):
            wait_s = capacity.retry_after_s if self.load.retry_after else None
            return Verdict(0.0, "capacity", capacity.status, "", wait_s, self._standings(now), is_excess)
        self.held += 1
        for meter in self._meters:
            meter.take(now, request.cost.in_units(meter.quota))
        return Verdict(self._delay_s(now, request), standings=self._standings(now), is_excess=is_excess)

    def release(self) -> None:
        """A request that was let in is answered, or its client left."""
        self.held -= 1

    def _capacity_at(self, now: float) -> int:
        capacity = self.load.capacity
        assert capacity is not None
        return round(capacity.concurrency * (capacity.steps.factor(now) if capacity.steps is not None else 1.0))

    def _delay_s(self, now: float, request: Request) -> float:
        load = self.load
        delay_s = 0.0
        if load.queue is not None and self._queue is not None:
            service_s = load.queue.service.draw(self._draw("service", request.digest, request.times))
            delay_s = self._queue.arrive(now, service_s)
        if load.latency is not None:
            delay_s += load.latency.draw(self._draw("latency", request.digest, request.times))
        return delay_s

    def _standings(self, now: float) -> tuple[Standing, ...]:
        return tuple(join_standings(self._meters, now)) if self.load.limit_headers else ()

    def _draw(self, purpose: str, digest: bytes, times: int) -> float:
        """A share above 0 and below 1 that follows from the request and how often it came, not from its place."""
        drawn = hashlib.sha256(b"%d|%b|%d|%b" % (self.load.seed, purpose.encode(), times, digest)).digest()
        return (int.from_bytes(drawn[:6], "big") + 0.5) / 2**48
