"""What a fault server counts: calls, tokens, refusals, and second by second what became of them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import orjson

from tidemill.calls.wire import Usage
from tidemill.testing.plan import Call

COUNTS = (
    "requests",
    "billed",
    "repeats",
    "good",
    "refused",
    "failed",
    "over_quota",
    "in_flight",
    "max_in_flight",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "connections",
    "strays",
)
COLUMNS = ("arrived", "good", "refused", "failed")
"""What the timeline counts, each in the second in which it happened."""

PERCENTILES = (50, 90, 99, 100)


@dataclass
class Counters:
    """What the server saw; `received` and `unbilled` count calls by the digest of their body.

    Attributes:
        requests: calls received whole.
        billed: those answered well, or a good answer begun, cut or stalled.
        repeats: billed calls whose body was billed before.
        good: good answers sent whole.
        refused: calls refused by a quota or for want of capacity.
        failed: those that failed in any other way, those whose client left before their answer included.
        over_quota: calls that came beyond a quota, refused for it or not.
        delays: seconds from each call received to its good answer sent, while there is a load.
        seconds: by second since the start, the counts of `COLUMNS`.
    """

    requests: int = 0
    billed: int = 0
    repeats: int = 0
    good: int = 0
    refused: int = 0
    failed: int = 0
    over_quota: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    connections: int = 0
    strays: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    received: dict[bytes, int] = field(default_factory=dict)
    unbilled: dict[bytes, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    delays: array[float] = field(default_factory=lambda: array("d"))
    seconds: dict[int, list[int]] = field(default_factory=dict)

    def count_arrival(self, digest: bytes, at_s: float) -> int:
        """Count a call as received and in flight; returns how often its body has come."""
        times = self.received.get(digest, 0) + 1
        self.received[digest] = times
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.count_in_second(at_s, 0)
        return times

    def count_in_second(self, at_s: float, column: int) -> None:
        """Count one more in a column of the timeline."""
        row = self.seconds.get(int(at_s))
        if row is None:
            row = self.seconds[int(at_s)] = [0] * len(COLUMNS)
        row[column] += 1

    def count_bill(self, digest: bytes, usage: Usage | None) -> None:
        """Count what the call is billed for; None: nothing."""
        if usage is None:
            self.unbilled[digest] = self.unbilled.get(digest, 0) + 1
            return
        self.billed += 1
        if self.received[digest] > 1 and self.received[digest] - self.unbilled.get(digest, 0) > 1:
            self.repeats += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        if not usage.is_plain:
            self.cached_tokens += usage.cached_tokens
            self.cache_write_tokens += usage.cache_write_tokens
            self.reasoning_tokens += usage.reasoning_tokens

    def billed_bodies(self) -> dict[str, int]:
        """Billed calls by the SHA-256 of their body."""
        bodies = ((digest.hex(), times - self.unbilled.get(digest, 0)) for digest, times in self.received.items())
        return {digest: times for digest, times in bodies if times}

    def timeline(self) -> list[dict[str, int]]:
        """Every second since the start, to the last one in which anything happened."""
        last = max(self.seconds, default=-1)
        nothing = [0] * len(COLUMNS)
        return [dict(zip(COLUMNS, self.seconds.get(second, nothing), strict=True)) for second in range(last + 1)]

    def delay_percentiles(self) -> dict[str, float]:
        """How long good answers took, by percentile: `p50 p90 p99 p100`; empty when none was timed."""
        ranked = sorted(self.delays)
        last = len(ranked) - 1
        return {f"p{percent}": ranked[round(last * percent / 100)] for percent in PERCENTILES} if ranked else {}

    def to_json(self, *, bodies: bool = False, log: bool = False, timeline: bool = False) -> bytes:
        """The counters as JSON; with the billed bodies, the hash of every body kept, in order, or the timeline."""
        told: dict[str, Any] = {name: getattr(self, name) for name in (*COUNTS, "faults")}
        if bodies:
            told["bodies"] = self.billed_bodies()
        if log:
            told["log"] = [call.sha256 for call in self.calls]
        if timeline:
            told["timeline"] = self.timeline()
            told["delays_s"] = self.delay_percentiles()
        return orjson.dumps(told)
