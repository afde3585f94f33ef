"""Whole loads in virtual time: what is made of them, and without storms."""

import random
from typing import Any

import pytest
from loads import drive

from tidemill.calls.admission.concurrency import ConcurrencyRange
from tidemill.calls.admission.governor import Governor
from tidemill.calls.admission.quota import NO_COST
from tidemill.testing.load.plan import Capacity, Latency, Load, Outage, Queue, Quota, Steps, WindowKind

SILENT = {"limit_headers": False, "retry_after": False}
HALVES = Steps(factors=(1, 0.5), each_s=20)


def per_second(rate: float, **more: object) -> Quota:
    return Quota.model_validate({"requests_per_minute": 60 * rate, "window_s": 1.0, **more})


@pytest.mark.parametrize(
    ("quota", "limits"),
    [
        (per_second(50), {"requests_per_minute": 3_000}),
        (per_second(50, kind="sliding", window_s=60), {"requests_per_minute": 3_000}),
        (per_second(50, kind="fixed", window_s=60), {"requests_per_minute": 3_000}),
        (Quota(tokens_per_minute=360_000), {"tokens_per_minute": 360_000}),
        (Quota(input_tokens_per_minute=300_000), {"input_tokens_per_minute": 300_000}),
    ],
    ids=["bucket", "sliding", "fixed", "tokens", "input tokens"],
)
def test_a_known_quota_is_used_up_and_never_passed(quota: Quota, limits: dict[str, int]) -> None:
    """97 % of what it allows, and not one refusal."""
    found = drive(Load(quotas=(quota,), **SILENT), seconds=120, **limits)
    assert found.goodput >= 0.97
    assert found.refused_ratio == 0.0


@pytest.mark.parametrize("headers", [True, False], ids=["headers", "silent"])
@pytest.mark.parametrize(
    "quota",
    [
        per_second(50),
        per_second(2, window_s=5),
        per_second(50, kind="sliding", window_s=10),
        per_second(50, kind="fixed", window_s=10),
    ],
    ids=["bucket", "slow bucket", "sliding", "fixed"],
)
def test_an_unknown_quota_is_found(quota: Quota, headers: bool) -> None:
    """90 % of what it allows, and no storm of refusals."""
    load = Load(quotas=(quota,), limit_headers=headers, retry_after=headers)
    found = drive(load, seconds=90, warm_up_s=10)
    assert found.goodput >= 0.9
    assert found.refused_ratio <= 0.2


@pytest.mark.parametrize(
    ("quota", "latency_s"),
    [
        (per_second(50, kind="fixed", window_s=2), 0.2),
        (per_second(50, kind="fixed", window_s=5), 0.2),
        (per_second(150, kind="fixed", window_s=2), 0.2),
        (per_second(400, kind="fixed", window_s=2), 0.1),
        (per_second(50, kind="fixed", window_s=2), 0.05),
    ],
    ids=["50", "50 in 5 s", "150", "400", "short calls"],
)
def test_a_short_window_that_nothing_tells_of_is_found_at_once(quota: Quota, latency_s: float) -> None:
    """90 % of what it allows from the first second on: where it opens again one goes on at what it carried."""
    found = drive(Load(quotas=(quota,), **SILENT), seconds=20, latency_s=latency_s)
    assert found.goodput >= 0.9
    assert found.refused_ratio <= 0.25


@pytest.mark.parametrize("window_s", [2.0, 10.0, 60.0])
def test_a_window_that_slides_is_filled_evenly_where_headers_tell_of_it(window_s: float) -> None:
    """What goes in one burst comes back in one: 90 % from the first second on, and few refusals."""
    found = drive(Load(quotas=(per_second(50, kind="sliding", window_s=window_s),)), seconds=120)
    assert found.goodput >= 0.9
    assert found.refused_ratio <= 0.06


@pytest.mark.parametrize("kind", ["bucket", "sliding"])
@pytest.mark.parametrize(("headers", "share"), [(True, 0.93), (False, 0.85)], ids=["headers", "silent"])
def test_a_quota_that_changes_is_followed(headers: bool, share: float, kind: WindowKind) -> None:
    """It halves and doubles each 20 s."""
    load = Load(quotas=(per_second(100, steps=HALVES, kind=kind),), limit_headers=headers, retry_after=headers)
    found = drive(load, seconds=80)
    assert found.goodput >= share
    assert found.refused_ratio <= 0.1


@pytest.mark.parametrize("status", [429, 503])
def test_a_capacity_is_found(status: int) -> None:
    """Calls in flight, beyond which a server refuses, whichever way it says so."""
    found = drive(Load(capacity=Capacity(concurrency=50, status=status), **SILENT), seconds=60, warm_up_s=10)
    assert found.goodput >= 0.9
    assert found.refused_ratio <= 0.1


def test_a_capacity_is_found_by_calls_of_many_lengths() -> None:
    """From the first second on; and one that halves and doubles each 20 s."""
    latency = Latency(kind="lognormal", median_s=0.15, sigma=0.25, max_s=0.6)
    load = Load(latency=latency, capacity=Capacity(concurrency=31), **SILENT)
    assert drive(load, seconds=40, latency_s=0.0).goodput >= 0.93
    assert drive(Load(capacity=Capacity(concurrency=100, steps=HALVES), **SILENT), seconds=80).goodput >= 0.85


@pytest.mark.parametrize("sigma", [0.2, 0.6])
def test_a_silent_queue_is_kept_short(sigma: float) -> None:
    """Within a tenth of the most there is, and half of the calls take at most twice what they need."""
    service = Latency(kind="lognormal", median_s=0.3, sigma=sigma, max_s=5)
    found = drive(Load(queue=Queue(servers=32, service=service)), seconds=120, warm_up_s=20, latency_s=0.0)
    assert found.goodput >= 0.9
    assert found.p50_s <= 0.6


def test_a_server_that_computes_batches_is_not_taken_for_a_queue() -> None:
    """Latency that grows with the calls in flight, and carries more for it, is work: the limit goes up again."""
    limit = Governor(ConcurrencyRange(1, 16, 128), rng=random.Random(0)).limit
    now = 0.0
    for _ in range(60_000):
        latency_s = 0.5 * (1 + limit.limit / 64)
        now += latency_s / limit.limit
        limit.succeed(now, epoch=limit.epoch, latency_s=latency_s, is_used=True)
    assert limit.limit >= 64


def test_replies_that_take_as_long_as_they_like_are_no_queue() -> None:
    """Heavy tails alone keep no calls back."""
    latency = Latency(kind="lognormal", median_s=0.5, sigma=0.8, max_s=20)
    found = drive(Load(latency=latency), seconds=30, warm_up_s=10, latency_s=0.0, concurrency={"max": 128})
    assert found.good_per_s >= 0.85 * 128 / latency.mean_s


@pytest.mark.parametrize("capacity", [None, Capacity(concurrency=100)], ids=["free", "capacity"])
def test_an_outage_costs_little_and_is_over_soon(capacity: Capacity | None) -> None:
    """Sixty seconds of 503: at most one call more in a hundred, and nine tenths of the goodput after 5 s."""
    load = Load(outages=(Outage(start_s=60, length_s=60),), capacity=capacity, **SILENT)
    found = drive(load, seconds=150, concurrency={"max": 200})
    before = sum(30 <= done < 60 for done, _ in found.far.good) / 30
    after = sum(125 <= done < 150 for done, _ in found.far.good) / 25
    assert after >= 0.9 * before
    extra = sum(found.meter.failures[cause] for cause in ("503", "connection"))
    assert extra <= 0.01 * len(found.far.good)


@pytest.mark.parametrize(("status", "ratio", "latency_s"), [(503, 0.05, 0.2), (503, 0.01, 2.0), (500, 0.05, 0.2)])
def test_failures_here_and_there_cost_what_they_are(status: int, ratio: float, latency_s: float) -> None:
    """A share of failed attempts that does not depend on how many are in flight keeps no others back."""
    load = Load(outages=(Outage(start_s=0, length_s=1_000, status=status, ratio=ratio),))
    found = drive(load, seconds=40, warm_up_s=20, latency_s=latency_s, concurrency={"max": 100})
    assert found.good_per_s >= 0.8 * 100 / latency_s


@pytest.mark.parametrize("headers", [True, False], ids=["headers", "silent"])
def test_a_slow_quota_is_found_where_calls_take_long(headers: bool) -> None:
    """Calls of two seconds under ten requests a second."""
    load = Load(quotas=(per_second(10),), limit_headers=headers, retry_after=headers)
    found = drive(load, seconds=120, warm_up_s=20, latency_s=2.0)
    assert found.goodput >= 0.9


def test_a_pause_that_is_asked_for_is_everyones() -> None:
    """Nobody goes before Retry-After is over."""
    governor = Governor(ConcurrencyRange(1, 16, 64), rng=random.Random(0))
    ticket = governor.send(0.0, NO_COST)
    governor.throttle(1.0, ticket, retry_after_s=20.0, headers={})
    assert 20.0 <= governor.wait_s(1.0, NO_COST) <= 20.5
    assert governor.wait_s(21.6, NO_COST) <= 0.0


@pytest.mark.parametrize("ratio", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("concurrency", [32, {"max": 64}], ids=["fixed", "found"])
def test_strays_that_nothing_tells_of_are_found(ratio: float, concurrency: object) -> None:
    """A share of attempts refused at random, and no pause asked for: the others are not kept back for long."""
    outage = Outage(start_s=0, length_s=1_000, status=429, ratio=ratio)
    found = drive(Load(outages=(outage,), **SILENT), seconds=90, warm_up_s=30, concurrency=concurrency)
    assert found.good_per_s >= 0.55 * (1 - ratio) * (32 if concurrency == 32 else 64) / 0.2


def test_few_refusals_that_do_not_depend_on_the_pace_do_not_stop_it() -> None:
    """One attempt in ten refused at random, as by one full server of several: the others keep their pace."""
    outage = Outage(start_s=0, length_s=1_000, status=429, ratio=0.1, retry_after_s=0.05)
    found = drive(Load(outages=(outage,), retry_after=True), seconds=60, warm_up_s=10, concurrency=32)
    assert found.good_per_s >= 80


@pytest.mark.parametrize(("measure", "tokens"), [("tokens", 120), ("input_tokens", 100), ("output_tokens", 20)])
def test_tokens_that_headers_tell_of_are_followed_where_requests_are_not(measure: str, tokens: int) -> None:
    """A server that tells of nothing else is asked for no more than it has."""
    quota = Quota.model_validate({f"{measure}_per_minute": 60 * 50 * tokens, "window_s": 1.0})
    found = drive(Load(quotas=(quota,)), seconds=60, warm_up_s=10)
    assert found.goodput >= 0.93
    assert found.refused_ratio <= 0.05


@pytest.mark.parametrize("counts_refused", [True, False], ids=["refused count", "free"])
@pytest.mark.parametrize("kind", ["bucket", "sliding", "fixed"])
@pytest.mark.parametrize("rate", [10, 30])
def test_a_quota_below_one_a_second_is_found_without_a_storm(rate: int, kind: WindowKind, counts_refused: bool) -> None:
    """Also where what is refused takes from the quota: asking on and on would then never end."""
    quota = Quota(requests_per_minute=rate, kind=kind, counts_refused=counts_refused)
    found = drive(Load(quotas=(quota,), **SILENT), seconds=600, latency_s=1.0)
    assert found.goodput >= 0.5
    assert found.refused_ratio <= 0.5


@pytest.mark.parametrize("latency_s", [1.0, 4.0])
@pytest.mark.parametrize(
    ("told", "limits"),
    [
        (True, {"concurrency": {"max": 2_000}}),
        (False, {"concurrency": {"max": 2_000}}),
        (False, {"requests_per_minute": 12_000}),
    ],
    ids=["headers", "silent", "known"],
)
def test_calls_that_take_long_use_a_quota_up(latency_s: float, told: bool, limits: dict[str, Any]) -> None:
    """As many as it takes are in flight: eight hundred for 200 a second of 4 s."""
    latency = Latency(kind="lognormal", median_s=latency_s, sigma=0.3, max_s=4 * latency_s)
    load = Load(latency=latency, quotas=(per_second(200),), limit_headers=told, retry_after=told)
    found = drive(load, seconds=60, warm_up_s=30, latency_s=0.0, **limits)
    assert found.goodput >= 0.93
    assert found.refused_ratio <= 0.05
