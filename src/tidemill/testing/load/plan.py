"""What a fault server can carry: quotas, capacity, a queue, latencies and outages, as frozen descriptions.

Every time is in seconds from the first request that a server gets under the plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from statistics import NormalDist
from typing import Literal

from pydantic import Field, model_validator

from tidemill.config.model import Settings

WindowKind = Literal["bucket", "sliding", "fixed"]
OutageKind = Literal["status", "reset", "stall", "refused"]

_MEAN_DRAWS = 2_000
_NORMAL = NormalDist()


class Steps(Settings):
    """What a limit is multiplied by as time goes on: `Steps(factors=(1, 0.5), each_s=20)` halves and doubles it.

    Attributes:
        factors: one after the other.
        each_s: how long each of them holds.
        repeat: begin again behind the last one; otherwise the last one stays.
    """

    factors: tuple[float, ...] = Field(min_length=1)
    each_s: float = Field(gt=0)
    repeat: bool = True

    @model_validator(mode="after")
    def _is_never_negative(self) -> Steps:
        if min(self.factors) < 0:
            raise ValueError("a factor cannot be below 0")
        return self

    def factor(self, at_s: float) -> float:
        """What holds at `at_s`, from a boundary on that of the step behind it."""
        index = self._find_index(at_s)
        count = len(self.factors)
        return self.factors[index % count if self.repeat else min(max(index, 0), count - 1)]

    def _find_index(self, at_s: float) -> int:
        """The step that holds; by products, as `boundaries` goes: a quotient may be off by one at a boundary."""
        index = math.floor(at_s / self.each_s)
        if (index + 1) * self.each_s <= at_s:
            return index + 1
        return index if index * self.each_s <= at_s else index - 1

    def boundaries(self, start_s: float, stop_s: float) -> Iterator[float]:
        """The times in `(start_s, stop_s]` at which a step ends, in order."""
        index = self._find_index(start_s) + 1
        while (at_s := index * self.each_s) <= stop_s:
            yield at_s
            index += 1


class Quota(Settings):
    """How much may come in a window of time; what comes beyond is refused with 429.

    A rate is told for a minute and holds for `window_s`: 600 a minute over a window of 1 s is 10 in each second.

    Attributes:
        requests_per_minute: requests.
        tokens_per_minute: input and output tokens together.
        input_tokens_per_minute: input tokens.
        output_tokens_per_minute: output tokens.
        window_s: the length of the window; of a bucket, how long it takes to fill.
        kind: `bucket` refills steadily and starts full, `sliding` looks back from each request, `fixed` starts anew
            at every multiple of `window_s`.
        counts: the tokens a request takes: those `used`, or the `ceiling` it sets with its `max_tokens`.
        counts_refused: refused requests take from the quota of requests too, so that a storm feeds itself.
        enforced: refuse what comes beyond; otherwise it is only counted, as over-admission.
        steps: how the whole quota changes.
    """

    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    input_tokens_per_minute: float | None = Field(default=None, gt=0)
    output_tokens_per_minute: float | None = Field(default=None, gt=0)
    window_s: float = Field(default=60.0, gt=0)
    kind: WindowKind = "bucket"
    counts: Literal["used", "ceiling"] = "used"
    counts_refused: bool = False
    enforced: bool = True
    steps: Steps | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Quota:
        if not self.limits:
            raise ValueError("a quota needs at least one of requests_per_minute, tokens_per_minute and the like")
        return self

    @cached_property
    def limits(self) -> dict[str, float]:
        """What one window holds, by unit: `requests`, `tokens`, `input_tokens`, `output_tokens`."""
        rates = {
            "requests": self.requests_per_minute,
            "tokens": self.tokens_per_minute,
            "input_tokens": self.input_tokens_per_minute,
            "output_tokens": self.output_tokens_per_minute,
        }
        return {unit: rate * self.window_s / 60 for unit, rate in rates.items() if rate is not None}


class Capacity(Settings):
    """How many requests are answered at one time; what comes beyond is refused at once.

    Attributes:
        concurrency: requests in flight that were let in.
        status: what a refused one gets; an Anthropic server says 529 for 503.
        retry_after_s: the `Retry-After` it gets, if any.
        steps: how `concurrency` changes; what is in flight already stays.
    """

    concurrency: int = Field(ge=1)
    status: Literal[429, 503] = 429
    retry_after_s: float | None = Field(default=None, ge=0)
    steps: Steps | None = None


class Latency(Settings):
    """How long a reply takes, drawn for each request from its body, so that two runs see the same.

    Attributes:
        kind: `constant`, or with a heavy tail `lognormal` or `pareto`.
        median_s: half of the replies take longer.
        sigma: of `lognormal`, the standard deviation of the logarithm.
        alpha: of `pareto`, the index of the tail: at 1 or below it has no mean.
        max_s: the longest there is; None for no bound.
    """

    kind: Literal["constant", "lognormal", "pareto"] = "constant"
    median_s: float = Field(ge=0)
    sigma: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=1.5, gt=0)
    max_s: float | None = Field(default=None, ge=0)

    def draw(self, share: float) -> float:
        """The latency that `share` (above 0, below 1) of all requests stay below."""
        drawn = self.median_s
        if self.kind == "lognormal":
            drawn *= math.exp(self.sigma * _NORMAL.inv_cdf(share))
        elif self.kind == "pareto":
            drawn *= (2 * (1 - share)) ** (-1 / self.alpha)
        return drawn if self.max_s is None else min(drawn, self.max_s)

    @cached_property
    def mean_s(self) -> float:
        """The mean over all requests, to about a percent; of a tail without a bound, over all but the longest."""
        return sum(self.draw((number + 0.5) / _MEAN_DRAWS) for number in range(_MEAN_DRAWS)) / _MEAN_DRAWS


class Queue(Settings):
    """Servers that take what comes one after the other and never refuse: the rest waits, first come, first served.

    Attributes:
        servers: how many requests are worked on at one time.
        service: how long one is worked on. A client that leaves has its request worked on all the same.
    """

    servers: int = Field(ge=1)
    service: Latency


class Outage(Settings):
    """A stretch of time in which requests fail; with a `ratio` below 1, a burst of failures.

    Attributes:
        start_s: when it begins.
        length_s: how long it takes.
        every_s: it comes again after so long; None: once.
        kind: `status` an error response; `reset` the connection reset; `stall` no byte, for ever; `refused` no
            connection: the server does not listen, and those it had are reset.
        status: of `status`.
        retry_after_s: of `status`, the `Retry-After` told, if any.
        ratio: the share of requests that fail, drawn from their bodies.
    """

    start_s: float = Field(ge=0)
    length_s: float = Field(gt=0)
    every_s: float | None = Field(default=None, gt=0)
    kind: OutageKind = "status"
    status: int = Field(default=503, ge=400, le=599)
    retry_after_s: float | None = Field(default=None, ge=0)
    ratio: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _can_be(self) -> Outage:
        if self.every_s is not None and self.every_s <= self.length_s:
            raise ValueError("an outage that comes again ends before: every_s is more than length_s")
        if self.kind == "refused" and self.ratio < 1:
            raise ValueError("connections are refused to all or to none: kind `refused` takes no ratio")
        return self

    def is_on(self, at_s: float) -> bool:
        """Whether `at_s` lies in it, its end not included."""
        begins_s = self._begins_s(self._find_number(at_s))
        return begins_s <= at_s < begins_s + self.length_s

    def boundaries(self, start_s: float, stop_s: float) -> Iterator[float]:
        """The times in `(start_s, stop_s]` at which it begins or ends, in order."""
        number = self._find_number(start_s)
        while (begins_s := self._begins_s(number)) <= stop_s:
            yield from (at_s for at_s in (begins_s, begins_s + self.length_s) if start_s < at_s <= stop_s)
            if self.every_s is None:
                return
            number += 1

    def _begins_s(self, number: int) -> float:
        return self.start_s + (number * self.every_s if self.every_s is not None else 0.0)

    def _find_number(self, at_s: float) -> int:
        """The last time that it has begun by `at_s`, 0 where it has not yet; by sums, as `_begins_s` goes."""
        if self.every_s is None:
            return 0
        number = max(0, math.floor((at_s - self.start_s) / self.every_s))
        if self._begins_s(number + 1) <= at_s:
            return number + 1
        return number if self._begins_s(number) <= at_s or number == 0 else number - 1


class Load(Settings):
    """Everything a fault server can carry. One may be changed for another while a server runs: its time starts anew.

    Attributes:
        quotas: each request must fit into all of them.
        capacity: requests in flight.
        queue: servers behind which requests wait.
        latency: how long replies take, on top of the server's own.
        outages: when it fails.
        limit_headers: tell limits, what remains and when it is whole again, as the provider does.
        retry_after: tell a refused request when to come back.
        seed: of everything drawn.
    """

    quotas: tuple[Quota, ...] = ()
    capacity: Capacity | None = None
    queue: Queue | None = None
    latency: Latency | None = None
    outages: tuple[Outage, ...] = ()
    limit_headers: bool = True
    retry_after: bool = True
    seed: int = 0

    def boundaries(self, start_s: float, stop_s: float) -> list[float]:
        """The times in `(start_s, stop_s]` at which anything changes, in order."""
        stepped = [quota.steps for quota in self.quotas] + [self.capacity.steps if self.capacity else None]
        changing: list[Steps | Outage] = [*(steps for steps in stepped if steps is not None), *self.outages]
        return sorted({at_s for each in changing for at_s in each.boundaries(start_s, stop_s)})
