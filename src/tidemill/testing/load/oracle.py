"""What a load would have let through: the most that any client could have had, to measure real ones against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

from tidemill.testing.load.meter import Meter
from tidemill.testing.load.plan import Load, Quota
from tidemill.testing.load.windows import SLACK

_INSTANT_S = 1e-9


class Oracle(NamedTuple):
    """Requests a load would have let through in a stretch of time; infinity where nothing bounds them.

    Attributes:
        sustained: at the rates that hold, without what a window holds ready at first: what a steady client can have.
        most: what the quotas let through to one who takes everything as soon as it is there, and the rest of the load
            carries: no client can have more.
        quota, capacity, queue: `sustained` by each of them alone.
    """

    sustained: float
    most: float
    quota: float
    capacity: float
    queue: float


def ask_oracle(
    load: Load, start_s: float, stop_s: float, *, cost: Mapping[str, float], latency_s: float = 0.0
) -> Oracle:
    """What `load` would have let through from `start_s` to `stop_s`, seconds from its start.

    Args:
        load: as it was all the while.
        start_s: when the client that is measured began.
        stop_s: when it ended.
        cost: what a request costs by unit, as `Cost.in_units` has it, on the average.
        latency_s: how long a request is held besides what the load itself says.
    """
    held_s = latency_s + (load.latency.mean_s if load.latency is not None else 0.0)
    quota = capacity = queue = sustained = 0.0
    for begin_s, end_s in _stretches(load, start_s, stop_s):
        length_s = (end_s - begin_s) * _up_ratio(load, begin_s)
        rates = (_quota_rate(load, begin_s, cost), _capacity_rate(load, begin_s, held_s), _queue_rate(load))
        quota, capacity, queue = (
            total + (rate * length_s if length_s else 0.0)
            for total, rate in zip((quota, capacity, queue), rates, strict=True)
        )
        sustained += min(rates) * length_s if length_s else 0.0
    greedy = min((_take_all(load, one, start_s, stop_s, cost) for one in load.quotas if one.enforced), default=math.inf)
    # What is in flight at the end counts for the client that was let in: one more of everything that is held.
    extra = load.capacity.concurrency if load.capacity is not None else 0
    waiting = load.queue.servers if load.queue is not None else 0
    return Oracle(sustained, min(greedy, capacity + extra, queue + waiting), quota, capacity, queue)


def _stretches(load: Load, start_s: float, stop_s: float) -> list[tuple[float, float]]:
    """The time cut where anything changes."""
    edges = [start_s, *(at_s for at_s in load.boundaries(start_s, stop_s) if at_s < stop_s), stop_s]
    return list(itertools.pairwise(edges))


def _up_ratio(load: Load, at_s: float) -> float:
    """The share of requests that no outage takes at `at_s`."""
    share = 1.0
    for outage in load.outages:
        if outage.is_on(at_s):
            share *= 1 - outage.ratio
    return share


def _quota_rate(load: Load, at_s: float, cost: Mapping[str, float]) -> float:
    """Requests a second that all the quotas let through."""
    rates = []
    for quota in load.quotas:
        factor = quota.steps.factor(at_s) if quota.steps is not None else 1.0
        for unit, limit in quota.limits.items() if quota.enforced else ():
            if cost.get(unit, 0) > 0:
                fitting = limit * factor / cost[unit]
                whole = math.floor(fitting + SLACK)  # a window lets whole requests in; a bucket keeps the rest
                rates.append((fitting if quota.kind == "bucket" and whole else whole) / quota.window_s)
    return min(rates, default=math.inf)


def _capacity_rate(load: Load, at_s: float, held_s: float) -> float:
    capacity = load.capacity
    if capacity is None:
        return math.inf
    factor = capacity.steps.factor(at_s) if capacity.steps is not None else 1.0
    service_s = held_s + (load.queue.service.mean_s if load.queue is not None else 0.0)
    return capacity.concurrency * factor / service_s if service_s > 0 else math.inf


def _queue_rate(load: Load) -> float:
    queue = load.queue
    return queue.servers / queue.service.mean_s if queue is not None and queue.service.mean_s > 0 else math.inf


def _take_all(load: Load, quota: Quota, start_s: float, stop_s: float, cost: Mapping[str, float]) -> float:
    """What one quota lets through to a client that takes everything as soon as it is there, outages left out."""
    meter = Meter(quota)
    # What stands ready just before a change is taken then: behind it there may be less, or nobody to take it.
    changes = [at_s for change_s in load.boundaries(start_s, stop_s) for at_s in (change_s - _INSTANT_S, change_s)]
    now, total = start_s, 0.0
    while True:
        next_s = next((at_s for at_s in changes if at_s > now), stop_s)
        if _up_ratio(load, now) > 0:
            count = meter.room(now, cost)
            if math.isinf(count):
                return count
            meter.take(now, {unit: each * count for unit, each in cost.items()})
            total += count
            next_s = min(next_s, now + _find_pause_s(meter, now, cost))
        if now >= stop_s:
            return total
        now = min(next_s, stop_s)


def _find_pause_s(meter: Meter, now: float, cost: Mapping[str, float]) -> float:
    """Seconds that nothing is lost by not asking."""
    excess = meter.find_excess(now, cost)
    wait_s = excess.wait_s if excess is not None else 0.0
    if meter.quota.kind != "bucket":
        return wait_s
    return max(wait_s, min(standing.reset_s for standing in meter.standings(now)) / 2)  # half full: nothing spills
