"""What the calls of a run came to: counts, tokens, cost, latency."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

from tidemill.calls.limits import PICO_USD_PER_USD
from tidemill.calls.shares import Share
from tidemill.calls.wire import Usage
from tidemill.resources.timing.histogram import Histogram


class Meter:
    """Counters of outside calls. Written by one event loop; reading from another thread gives near-current values.

    Attributes:
        calls: calls begun (their first attempt was sent).
        failed: of those, the ones that ended with an error.
        attempts: requests sent; `failures` counts the ones that gave no usable answer, by cause.
        cut: answers that ended at a bound on their tokens.
        unknown_usage: attempts that may have been billed without saying how much.
        input_tokens, output_tokens, pico_usd: as reported by the far side.
        cached_tokens, cache_write_tokens, reasoning_tokens: the parts of these that `Usage` tells apart.
        coalesced: calls that took the reply of an identical one in flight; they are none of `calls`.
        in_flight, max_in_flight: calls whose attempt is on its way or not yet committed, now and at most.
        attempts_of_calls: ended calls by the attempts they took.
        waited_us: microseconds that ended calls waited in front of their attempts, summed over them, by what for:
            `slots`, `limits` (requests and tokens a minute, what the far side asks for), `endpoint`, `budget`,
            `backoff`. What a call waited that was never sent is not in it.
        latencies: of the answered attempts.
        first_tokens: of the streamed ones, the time to their first token.
        shares: what the calls came to whose requests have a `tally`, by its label.
    """

    __slots__ = (
        "attempts",
        "attempts_of_calls",
        "cache_write_tokens",
        "cached_tokens",
        "calls",
        "coalesced",
        "cut",
        "failed",
        "failures",
        "first_tokens",
        "in_flight",
        "input_tokens",
        "latencies",
        "max_in_flight",
        "output_tokens",
        "pico_usd",
        "reasoning_tokens",
        "shares",
        "unknown_usage",
        "waited_us",
    )

    _COUNTS = (
        "calls",
        "failed",
        "attempts",
        "cut",
        "coalesced",
        "unknown_usage",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "pico_usd",
    )
    _COUNTERS: ClassVar[dict[str, type[int] | type[str]]] = {
        "failures": str,
        "attempts_of_calls": int,
        "waited_us": str,
    }
    _HISTOGRAMS = ("latencies", "first_tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.attempts = 0
        self.cut = 0
        self.coalesced = 0
        self.unknown_usage = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.cache_write_tokens = 0
        self.reasoning_tokens = 0
        self.pico_usd = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.failures: Counter[str] = Counter()
        # Each call counts in these: a Counter, whose items are set by a method of Python's, takes five times as long.
        self.attempts_of_calls: defaultdict[int, int] = defaultdict(int)
        self.waited_us: defaultdict[str, int] = defaultdict(int)
        self.latencies = Histogram()
        self.first_tokens = Histogram()
        self.shares: dict[str, Share] = {}

    @property
    def usd(self) -> float:
        """Reported cost in US dollars; attempts of unknown usage are not in it."""
        return self.pico_usd / PICO_USD_PER_USD

    def send(self, *, is_first: bool) -> None:
        """An attempt is being sent, a call's first or another."""
        self.calls += is_first
        self.attempts += 1
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:
            self.max_in_flight = self.in_flight

    def take_back(self, *, is_first: bool) -> None:
        """What `send` counted last was not sent after all."""
        self.calls -= is_first
        self.attempts -= 1
        self.in_flight -= 1

    def answer(self, latency_s: float, usage: Usage | None, pico_usd: int, first_token_s: float | None = None) -> None:
        """An attempt was answered and its answer used."""
        self.latencies.add(latency_s)
        if first_token_s is not None:
            self.first_tokens.add(first_token_s)
        if usage is None:
            self.unknown_usage += 1
            return
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.pico_usd += pico_usd
        if usage.cached_tokens or usage.cache_write_tokens or usage.reasoning_tokens:
            self.cached_tokens += usage.cached_tokens
            self.cache_write_tokens += usage.cache_write_tokens
            self.reasoning_tokens += usage.reasoning_tokens

    def wait(self, waited_us: Mapping[str, int]) -> None:
        """A call that was sent has ended, and waited so long."""
        _add(self.waited_us, waited_us)

    def share(self, label: str) -> Share:
        """The share of that label, which is there from now on."""
        share = self.shares.get(label)
        if share is None:
            share = self.shares[label] = Share()
        return share

    def latency_s(self, ratio: float) -> float | None:
        """The latency that `ratio` (0-1) of the answered attempts stayed under, to 12 %; None without any."""
        return self.latencies.percentile_s(ratio)

    def first_token_s(self, ratio: float) -> float | None:
        """The same of the time to the first token; None where nothing was streamed."""
        return self.first_tokens.percentile_s(ratio)

    def merge(self, other: Meter) -> None:
        """Add another meter's counts to this one's; what is in flight stays this one's."""
        for name in self._COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.max_in_flight = max(self.max_in_flight, other.max_in_flight)
        for name in self._COUNTERS:
            _add(getattr(self, name), getattr(other, name))
        for name in self._HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))
        for label, share in other.shares.items():
            self.share(label).merge(share)

    def to_dict(self) -> dict[str, Any]:
        """JSON of every count, as a run saves it with each commit."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in (*self._COUNTS, "max_in_flight")}
        for name in self._COUNTERS:
            counts[name] = {str(key): count for key, count in getattr(self, name).items()}
        counts["shares"] = {label: share.to_list() for label, share in self.shares.items()}
        return counts | {name: getattr(self, name).to_dict() for name in self._HISTOGRAMS}

    def describe(self) -> dict[str, Any]:
        """JSON for the reader: the counts, the cost in USD, p50, p90 and p99 of the latencies in seconds."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in self._COUNTS}
        return counts | {
            "usd": self.usd,
            "max_in_flight": self.max_in_flight,
            "latency_s": {f"p{round(ratio * 100)}": self.latency_s(ratio) for ratio in (0.5, 0.9, 0.99)},
            "first_token_s": {f"p{round(ratio * 100)}": self.first_token_s(ratio) for ratio in (0.5, 0.9, 0.99)},
            "failures": dict(sorted(self.failures.items())),
            "attempts_of_calls": {str(key): count for key, count in sorted(self.attempts_of_calls.items())},
            "waited_us": dict(sorted(self.waited_us.items())),
            "shares": {label: share.describe() for label, share in sorted(self.shares.items())},
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Meter:
        """The meter `to_dict` described, with nothing in flight."""
        meter = cls()
        for name in (*cls._COUNTS, "max_in_flight"):
            setattr(meter, name, int(value.get(name, 0)))  # a run begun by an earlier version counted less
        for name, kind in cls._COUNTERS.items():
            _add(getattr(meter, name), {kind(key): count for key, count in value.get(name, {}).items()})
        for name in cls._HISTOGRAMS:
            setattr(meter, name, Histogram.from_dict(value.get(name, {})))
        meter.shares = {label: Share.from_list(each) for label, each in value.get("shares", {}).items()}
        return meter


def _add(counts: dict[Any, int], more: Mapping[Any, int]) -> None:
    for key, count in more.items():
        counts[key] += count
