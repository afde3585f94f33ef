"""What a run against a server with limits comes to, from what the server counted. Pure: numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tables import Target
from tidemill.testing.faults import Fault

Second = Mapping[str, int]
"""`arrived good refused failed` of one second of the server's timeline."""

RECOVERED_RATIO = 0.9


@dataclass(frozen=True)
class Outcome:
    """What the server saw of one client, and what that said of itself.

    Attributes:
        records: how many it had.
        timeline: every second from the first call on.
        stats: the server's counters at the end.
        delays_s: percentiles of how long good replies took.
        oracle: good replies that a steady client would have had in the judged seconds; infinity where nothing bounds.
        judged_s: those seconds, from the first call on: `[start, stop)`.
        told: the client's last line.
        reached_s: seconds from the first call until 99 % and all of the records had a good reply; infinity for never.
    """

    records: int
    timeline: Sequence[Second]
    stats: Mapping[str, Any]
    delays_s: Mapping[str, float] = field(default_factory=dict)
    oracle: float = math.inf
    judged_s: tuple[int, int] = (0, 0)
    told: Mapping[str, Any] = field(default_factory=dict)
    reached_s: tuple[float, float] = (math.inf, math.inf)


def count_good(timeline: Sequence[Second], start_s: int, stop_s: int) -> int:
    """Good replies in `[start_s, stop_s)`."""
    return sum(second["good"] for second in timeline[start_s:stop_s])


def find_rate(outcome: Outcome) -> float:
    """Good replies a second in the judged seconds."""
    start_s, stop_s = outcome.judged_s
    return count_good(outcome.timeline, start_s, stop_s) / (stop_s - start_s)


def find_goodput(outcome: Outcome) -> float:
    """Good replies in the judged seconds, of the oracle's."""
    return count_good(outcome.timeline, *outcome.judged_s) / outcome.oracle


def find_recovery_s(timeline: Sequence[Second], end_s: int, rate: float) -> float:
    """Seconds from the end of an outage until a second with 90 % of `rate` good replies is over; infinity for never."""
    for second, counts in enumerate(timeline[end_s:]):
        if counts["good"] >= RECOVERED_RATIO * rate:
            return second + 1.0
    return math.inf


def find_extra(outcome: Outcome) -> float:
    """Calls that the server got beyond one a record, of the records."""
    return int(outcome.stats["requests"]) / outcome.records - 1


def find_billed(outcome: Outcome) -> float:
    """Billed calls of the records, without those that the server billed and did not answer well."""
    faults = outcome.stats["faults"]
    spoilt: int = sum(
        count for kind, count in faults.items() if not kind.startswith("outage") and Fault(kind).is_billed
    )
    return (int(outcome.stats["billed"]) - spoilt) / outcome.records


def find_tail(outcome: Outcome) -> float:
    """The share of the run that the last 1 % of its records took."""
    most_s, all_s = outcome.reached_s
    return (all_s - most_s) / all_s if math.isfinite(all_s) else 1.0


Judge = Callable[[Outcome], Target]


def judge_goodput(wanted: float, *, is_judged: bool = True) -> Judge:
    """At least the share `wanted` of the oracle's."""

    def judge(outcome: Outcome) -> Target:
        ratio = find_goodput(outcome)
        return Target(
            "goodput of the oracle's", f"{ratio:.1%}", f">= {wanted:.0%}", ratio >= wanted if is_judged else None
        )

    return judge


def judge_recovery(end_s: int, rate: float, within_s: float = 5.0) -> Judge:
    """Of `rate` again within so many seconds."""

    def judge(outcome: Outcome) -> Target:
        took_s = find_recovery_s(outcome.timeline, end_s, rate)
        return Target("90 % goodput again after", f"{took_s:.0f} s", f"<= {within_s:.0f} s", took_s <= within_s)

    return judge


def judge_extra(wanted: float, *, is_judged: bool = True) -> Judge:
    """At most the share `wanted` of calls beyond the records."""

    def judge(outcome: Outcome) -> Target:
        ratio = find_extra(outcome)
        return Target(
            "calls beyond one a record", f"{ratio:.2%}", f"<= {wanted:.0%}", ratio <= wanted if is_judged else None
        )

    return judge


def judge_billed(wanted: float) -> Judge:
    """At most `wanted` billed calls a record, those that the server itself spoilt apart."""

    def judge(outcome: Outcome) -> Target:
        ratio = find_billed(outcome)
        return Target("billed calls a record", f"{ratio:.4f}", f"<= {wanted:.2f}", ratio <= wanted)

    return judge


def judge_tail(wanted: float, *, is_judged: bool) -> Judge:
    """At most the share `wanted` of the run for the last 1 % of the records."""

    def judge(outcome: Outcome) -> Target:
        ratio = find_tail(outcome)
        return Target(
            "last 1 % of records", f"{ratio:.1%} of the run", f"< {wanted:.0%}", ratio < wanted if is_judged else None
        )

    return judge
