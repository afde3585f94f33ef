"""The far sides that goodput is measured against, and what is asked of a client of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from goodput_figures import (
    Judge,
    judge_billed,
    judge_extra,
    judge_goodput,
    judge_recovery,
    judge_tail,
)
from tidemill.testing.faults import Capacity, Fault, Faults, Latency, Load, Outage, Quota, Steps

LATENCY = Latency(kind="lognormal", median_s=0.15, sigma=0.25, max_s=0.6)
LONG = Latency(kind="lognormal", median_s=2.0, sigma=0.25, max_s=8.0)
"""As a model's replies of some hundred tokens take."""
BUCKET_S = 1
"""Seconds of its rate that a bucket holds; twice as many where a client keeps to the rate by itself, with a burst."""
EMPTY_S = 4
"""Seconds after which a bucket that was full at first has been emptied by who can."""
FAILURES = Faults(
    mixed=[
        (0.02, Fault("status", status=500)),
        (0.01, Fault("status", status=503)),
        (0.01, Fault("reset")),
        (0.005, Fault("cut")),
        (0.005, Fault("garbage")),
    ]
)
"""5 % of the calls; those cut and garbled are billed all the same."""


@dataclass(frozen=True)
class Scale:
    """How long and how fast.

    Attributes:
        rate: calls a second that a constant quota lets through.
        constant_s: of a constant quota.
        window_s: of sliding and fixed windows; they are measured over two of them.
        step_s: how long a quota stands before it halves or doubles; four steps are measured.
        steady_s: of runs whose end is measured, and before an outage.
        outage_s: of the outage.
        queue_s: of each run against a silent queue.
        sweep: fixed concurrencies there, the first of which stands for the server without load.
        lag_s: of the run whose loop is timed.
        at_once: scenarios at a time, each with its clients.
    """

    rate: int
    constant_s: int
    window_s: int
    step_s: int
    steady_s: int
    outage_s: int
    queue_s: int
    sweep: Sequence[int]
    lag_s: int
    at_once: int


FULL = Scale(
    rate=200,
    constant_s=60,
    window_s=60,
    step_s=20,
    steady_s=70,
    outage_s=60,
    queue_s=40,
    sweep=(2, 8, 12, 16, 20, 24, 28, 32, 48, 64),
    lag_s=30,
    at_once=2,
)
QUICK = Scale(
    rate=200,
    constant_s=12,
    window_s=6,
    step_s=10,
    steady_s=15,
    outage_s=10,
    queue_s=15,
    sweep=(2, 16, 24, 32),
    lag_s=5,
    at_once=5,
)
SMALL = Scale(
    rate=60,
    constant_s=5,
    window_s=2,
    step_s=2,
    steady_s=2,
    outage_s=1,
    queue_s=2,
    sweep=(2, 24),
    lag_s=1,
    at_once=2,
)


@dataclass(frozen=True)
class Scenario:
    """One far side.

    Attributes:
        name: as shown and asked for.
        load: what the server carries.
        length_s: seconds from the first call on until it is over.
        start_s: the first of them that is judged: who empties a bucket that is full at first has more until then.
        limits: Tidemill's.
        records: of a run to its end; None: more than enough of them, and the run is ended after `length_s`.
        faults: what the server does beside.
        in_flight: the semaphore script's.
        judges: what is wanted of Tidemill.
    """

    name: str
    load: Load
    length_s: int
    start_s: int = 0
    limits: Mapping[str, Any] = field(default_factory=lambda: {"concurrency": "auto"})
    records: int | None = None
    faults: Faults | None = None
    in_flight: int = 64
    judges: Sequence[Judge] = ()


def list_scenarios(scale: Scale) -> list[Scenario]:
    """All of them, the longest first."""
    found = [*_iter_known(scale), *_iter_unknown(scale), *_iter_stepped(scale), *_iter_failing(scale)]
    return sorted(found, key=lambda scenario: -scenario.length_s)


def make_stepped(rate: int, step_s: int, *, told: bool, is_judged: bool = True) -> Scenario:
    """A quota that halves and doubles each `step_s` seconds."""
    quota = _bucket(rate, steps=Steps(factors=(1, 0.5), each_s=step_s))
    load = Load(quotas=(quota,), latency=LATENCY, limit_headers=told, retry_after=told)
    wanted = 0.93 if told else 0.85
    name = f"halves, doubles; {_tell(told)}"
    judges = [judge_goodput(wanted, is_judged=is_judged)]
    return Scenario(name, load, 4 * step_s, start_s=_find_start(quota), judges=judges)


def _bucket(rate: float, *, window_s: float = BUCKET_S, steps: Steps | None = None) -> Quota:
    return Quota(requests_per_minute=rate * 60, window_s=window_s, kind="bucket", steps=steps)


def _find_start(quota: Quota) -> int:
    return EMPTY_S if quota.kind == "bucket" else 0


def _tell(told: bool) -> str:
    return "headers" if told else "nothing told"


def _known(name: str, quota: Quota, length_s: int, limits: Mapping[str, int], *, is_judged: bool = True) -> Scenario:
    return Scenario(
        f"known; {name}",
        Load(quotas=(quota,), latency=LATENCY),
        length_s,
        start_s=_find_start(quota),
        limits={"concurrency": "auto", **limits},
        judges=[judge_goodput(0.97, is_judged=is_judged)],
    )


def _iter_known(scale: Scale) -> Iterator[Scenario]:
    """The quota is the same on both sides."""
    per_minute = scale.rate * 60
    yield _known(
        "bucket", _bucket(scale.rate, window_s=2 * BUCKET_S), scale.constant_s, {"requests_per_minute": per_minute}
    )
    kinds: tuple[Literal["sliding", "fixed"], ...] = ("sliding", "fixed")
    for kind in kinds:
        quota = Quota(requests_per_minute=per_minute, window_s=scale.window_s, kind=kind)
        name = f"{kind} window of {scale.window_s} s"
        # A client that keeps to N a minute may have sent more in a shorter window, by its burst of a tenth of a second.
        is_judged = scale.window_s >= FULL.window_s
        yield _known(name, quota, 2 * scale.window_s, {"requests_per_minute": per_minute}, is_judged=is_judged)
    tokens = per_minute * TOKENS_A_CALL
    quota = Quota(tokens_per_minute=tokens, window_s=2 * BUCKET_S, kind="bucket")
    yield _known("tokens, bucket", quota, scale.constant_s, {"tokens_per_minute": tokens})


TOKENS_A_CALL = 200
"""About what one comes to."""


def _iter_unknown(scale: Scale) -> Iterator[Scenario]:
    """The client is told nothing beforehand."""
    length_s = scale.constant_s
    per_minute = scale.rate * 60
    fixed_s = max(1.0, scale.constant_s / 6)
    quotas = [
        ("bucket", _bucket(scale.rate), True),
        ("bucket", _bucket(scale.rate), False),
        (
            f"fixed window of {fixed_s:g} s",
            Quota(requests_per_minute=per_minute, window_s=fixed_s, kind="fixed"),
            False,
        ),
    ]
    for name, quota, told in quotas:
        load = Load(quotas=(quota,), latency=LATENCY, limit_headers=told, retry_after=told)
        what = f"unknown; {name}, {_tell(told)}"
        yield Scenario(what, load, length_s, start_s=_find_start(quota), judges=[judge_goodput(0.9)])
    for told in (True, False):
        load = Load(quotas=(_bucket(scale.rate),), latency=LONG, limit_headers=told, retry_after=told)
        what = f"unknown; bucket, calls of 2 s, {_tell(told)}"
        judge = judge_goodput(0.9, is_judged=length_s >= FULL.constant_s)
        limits = {"concurrency": {"max": 1_000}}
        yield Scenario(what, load, length_s, start_s=length_s // 3, limits=limits, judges=[judge])
    load = Load(capacity=Capacity(concurrency=round(scale.rate * LATENCY.mean_s)), latency=LATENCY, limit_headers=False)
    yield Scenario("unknown; calls in flight", load, length_s, judges=[judge_goodput(0.9)])


def _iter_stepped(scale: Scale) -> Iterator[Scenario]:
    is_judged = scale.step_s >= FULL.step_s
    for told in (True, False):
        yield make_stepped(scale.rate, scale.step_s, told=told, is_judged=is_judged)


def _iter_failing(scale: Scale) -> Iterator[Scenario]:
    """Runs to the end, at a known rate."""
    limits = {"concurrency": "auto", "requests_per_minute": scale.rate * 60}
    yield Scenario(
        "5 % transient failures",
        Load(latency=LATENCY),
        scale.steady_s,
        limits=limits,
        records=scale.rate * scale.steady_s,
        faults=FAILURES,
        judges=[judge_billed(1.02), judge_tail(0.05, is_judged=scale.steady_s >= FULL.constant_s)],
    )
    before_s = scale.steady_s // 2
    end_s = before_s + scale.outage_s
    load = Load(
        quotas=(_bucket(scale.rate, window_s=2 * BUCKET_S),),
        latency=LATENCY,
        outages=(Outage(start_s=before_s, length_s=scale.outage_s),),
    )
    yield Scenario(
        f"outage of {scale.outage_s} s",
        load,
        end_s + scale.steady_s - before_s,
        limits=limits,
        records=scale.rate * scale.steady_s,
        judges=[judge_extra(0.01, is_judged=scale.outage_s >= FULL.outage_s), judge_recovery(end_s, scale.rate)],
    )
