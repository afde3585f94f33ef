"""Windows, meters, queues and the oracle: pure machines that are told the time."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import ConfigError
from tidemill.testing import Capacity, Latency, Load, Outage, Queue, Quota, Steps
from tidemill.testing.load.admission import Admission, Request
from tidemill.testing.load.meter import Cost, Meter, join_standings
from tidemill.testing.load.oracle import ask_oracle
from tidemill.testing.load.plan import WindowKind
from tidemill.testing.load.queue import ServiceQueue
from tidemill.testing.load.windows import open_window

KINDS: tuple[WindowKind, ...] = ("bucket", "sliding", "fixed")
ONE = {"requests": 1.0}
DIGEST = b"\0" * 32

kinds = st.sampled_from(KINDS)
gaps = st.lists(st.floats(0, 3, allow_subnormal=False), min_size=1, max_size=80)


def arrive_at(gap_list: Sequence[float]) -> list[float]:
    """Times that never go back."""
    times, now = [], 0.0
    for gap in gap_list:
        now += gap
        times.append(now)
    return times


def let_in(quota: Quota, times: Sequence[float]) -> list[float]:
    """The times of those requests that fit."""
    meter = Meter(quota)
    fitting = []
    for now in times:
        if meter.find_excess(now, ONE) is None:
            meter.take(now, ONE)
            fitting.append(now)
    return fitting


def per_second(limit: float, window_s: float, kind: WindowKind, **more: Any) -> Quota:
    """A quota that holds `limit` in a window."""
    return Quota(requests_per_minute=limit * 60 / window_s, window_s=window_s, kind=kind, **more)


@given(kinds, st.integers(1, 12), st.floats(0.5, 10), gaps)
def test_no_window_ever_holds_more_than_its_limit(
    kind: WindowKind, limit: int, window_s: float, gap: list[float]
) -> None:
    """Of any arrivals, those that fit keep the promise of their kind of window."""
    fitting = let_in(per_second(limit, window_s, kind), arrive_at(gap))
    for index, start in enumerate(fitting):
        if kind == "bucket":
            for stop in range(index, len(fitting)):
                length_s = fitting[stop] - start
                assert stop - index + 1 <= limit * (1 + length_s / window_s) + 1e-5
        elif kind == "sliding":
            assert bisect_right(fitting, start + window_s - 1e-6) - index <= limit
        else:
            number = math.floor((start + 1e-9) / window_s)
            assert sum(math.floor((at + 1e-9) / window_s) == number for at in fitting) <= limit


@given(kinds, st.integers(1, 12), st.floats(0.5, 10), gaps)
def test_what_fits_is_never_refused(kind: WindowKind, limit: int, window_s: float, gap: list[float]) -> None:
    """A refused request really had no room: the windows it looks at are full."""
    meter = Meter(per_second(limit, window_s, kind))
    before: list[float] = []
    for now in arrive_at(gap):
        if meter.find_excess(now, ONE) is None:
            meter.take(now, ONE)
            before.append(now)
        elif kind == "sliding":
            assert sum(at > now - window_s - 1e-6 for at in before) >= limit
        elif kind == "fixed":
            number = math.floor((now + 1e-9) / window_s)
            assert sum(math.floor((at + 1e-9) / window_s) == number for at in before) >= limit
        else:
            assert len(before) >= limit


@given(kinds, st.integers(1, 12), st.floats(0.5, 10), gaps)
def test_what_is_told_is_true(kind: WindowKind, limit: int, window_s: float, gap: list[float]) -> None:
    """Exactly `remaining` more fit; after `wait_s` one does, and shortly before none; after `reset_s` all do."""
    quota = per_second(limit, window_s, kind)
    meter = Meter(quota)
    for now in arrive_at(gap):
        (standing,) = meter.standings(now)
        assert meter.room(now, ONE) == math.floor(standing.remaining + 1e-6)
        excess = meter.find_excess(now, ONE)
        assert (excess is None) == (standing.remaining + 1e-6 >= 1)
        if excess is None:
            meter.take(now, ONE)
        else:
            assert excess.unit == "requests"
            assert 0 < excess.wait_s <= window_s + 1e-6
            untouched = open_window(kind, limit, window_s, 0.0)
            assert untouched.room(now) == limit
    last = arrive_at(gap)[-1]
    excess = meter.find_excess(last, ONE)
    (standing,) = meter.standings(last)
    if excess is not None:
        assert meter.find_excess(last + excess.wait_s * 0.99 - 1e-5, ONE) is not None or excess.wait_s < 1e-3
        assert meter.find_excess(last + excess.wait_s, ONE) is None
    assert meter.room(last + standing.reset_s + 1e-6, ONE) == limit


@given(kinds, st.integers(1, 9), st.integers(10, 60), gaps, st.lists(st.integers(1, 20), min_size=1, max_size=80))
def test_a_request_takes_from_every_unit_or_from_none(
    kind: WindowKind, requests: int, tokens: int, gap: list[float], costs: list[int]
) -> None:
    """Neither the requests nor the tokens of a window are ever exceeded, and a refused one takes nothing."""
    quota = Quota(requests_per_minute=requests * 30, tokens_per_minute=tokens * 30, window_s=2, kind=kind)
    meter = Meter(quota)
    taken: list[tuple[float, int]] = []
    for now, cost in zip(arrive_at(gap), costs, strict=False):
        units = Cost(cost, 0, 0).in_units(quota)
        before = meter.standings(now)
        if meter.find_excess(now, units) is None:
            meter.take(now, units)
            taken.append((now, cost))
        else:
            assert meter.standings(now) == before
    for start, _ in taken:
        window = [cost for at, cost in taken if start <= at < start + 2 - 1e-6]
        if kind == "sliding":
            assert len(window) <= requests
            assert sum(window) <= tokens + 1e-5
        elif kind == "bucket":
            assert len(window) <= 2 * requests + 1e-5
            assert sum(window) <= 2 * tokens + 1e-5


def test_a_request_that_never_fits_is_told_so() -> None:
    """More tokens than a window holds: no waiting helps."""
    for kind in KINDS:
        quota = Quota(tokens_per_minute=60, window_s=10, kind=kind)
        excess = Meter(quota).find_excess(0.0, Cost(8, 3, 3).in_units(quota))
        assert excess is not None
        assert (excess.unit, excess.wait_s) == ("tokens", math.inf)


def test_tokens_are_counted_as_told() -> None:
    """As used, or by the ceiling that the request sets."""
    cost = Cost(10, 5, 100)
    assert cost.in_units(Quota(tokens_per_minute=1))["tokens"] == 15
    assert cost.in_units(Quota(tokens_per_minute=1, counts="ceiling"))["tokens"] == 110
    assert cost.in_units(Quota(tokens_per_minute=1, counts="ceiling"))["output_tokens"] == 100


def test_refused_requests_may_count_too() -> None:
    """Then a storm keeps a sliding window full, for as long as it goes on."""
    quota = per_second(2, 1, "sliding", counts_refused=True)
    meter = Meter(quota)
    fitting = 0
    for number in range(100):
        now = number * 0.1
        if meter.find_excess(now, ONE) is None:
            meter.take(now, ONE)
            fitting += 1
        else:
            meter.take_refused(now)
    assert fitting == 2


@given(kinds, st.integers(1, 9))
def test_a_quota_follows_its_steps(kind: WindowKind, limit: int) -> None:
    """Half as much in every second stretch; what was taken before stays taken."""
    quota = per_second(limit * 2, 1, kind, steps=Steps(factors=(1, 0.5), each_s=10))
    fitting = let_in(quota, [number / 50 for number in range(50 * 40)])
    for number in range(4):
        within = sum(number * 10 + 1 <= at < number * 10 + 10 for at in fitting)
        expected = limit * 2 * 9 if number % 2 == 0 else limit * 9
        assert expected - 2 * limit - 1 <= within <= expected + 2 * limit


def test_steps_repeat_or_end() -> None:
    """A boundary belongs to the step behind it."""
    steps = Steps(factors=(1, 2, 3), each_s=10)
    assert [steps.factor(at_s) for at_s in (0, 9.9, 10, 29, 30, 45)] == [1, 1, 2, 3, 1, 2]
    assert Steps(factors=(1, 2), each_s=10, repeat=False).factor(1e9) == 2
    assert list(steps.boundaries(10, 30)) == [20, 30]


@given(st.integers(1, 5), gaps, st.lists(st.floats(0, 5), min_size=1, max_size=80))
def test_a_queue_is_fair_and_never_idle(servers: int, gap: list[float], services: list[float]) -> None:
    """First come, first served; at most `servers` at one time; whoever waits, waits while all of them are busy."""
    queue = ServiceQueue(servers)
    begun: list[tuple[float, float]] = []
    for now, service_s in zip(arrive_at(gap), services, strict=False):
        done_s = now + queue.arrive(now, service_s)
        start_s = done_s - service_s
        assert start_s >= now - 1e-9
        busy = sum(start <= start_s + 1e-9 and stop > start_s + 1e-9 for start, stop in begun)
        assert busy < servers or service_s < 1e-6
        if start_s > now + 1e-6:
            assert sum(stop > start_s - 1e-6 for _, stop in begun) >= servers
            assert all(start <= start_s + 1e-9 for start, _ in begun)
        begun.append((start_s, done_s))


@given(
    kinds, st.integers(1, 30), st.floats(0.5, 20), st.floats(1, 50), st.sampled_from([(1.0,), (1, 0.5), (0.5, 2, 1)])
)
def test_no_client_has_more_than_the_oracle(
    kind: WindowKind, limit: int, window_s: float, length_s: float, factors: tuple[float, ...]
) -> None:
    """One that asks all the time gets it but for what a window holds at each change, and never more."""
    quota = per_second(limit, window_s, kind, steps=Steps(factors=factors, each_s=7))
    oracle = ask_oracle(Load(quotas=[quota]), 0, length_s, cost=ONE)
    step_s = min(window_s / limit / 4, 0.5)
    got = len(let_in(quota, [number * step_s for number in range(int(length_s / step_s) + 1)]))
    assert got <= oracle.most + 1e-6
    held = (limit * max(factors) + 1) * (2 + length_s // 7)
    assert got >= oracle.most - held
    assert oracle.sustained <= oracle.most + held


def test_the_oracle_knows_each_bound() -> None:
    """The rate of the quota, of capacity over latency, of servers over service; and the least of them."""
    latency, service = Latency(median_s=0.5), Latency(median_s=0.2)
    load = Load(quotas=[Quota(requests_per_minute=6_000)], capacity=Capacity(concurrency=20), latency=latency)
    oracle = ask_oracle(load, 10, 20, cost=ONE)
    assert (oracle.quota, oracle.capacity, oracle.queue, oracle.sustained) == (1_000, 400, math.inf, 400)
    queued = ask_oracle(Load(queue=Queue(servers=4, service=service)), 0, 10, cost=ONE)
    assert [queued.queue, queued.sustained, queued.most] == pytest.approx([200, 200, 204])
    nothing = ask_oracle(Load(), 0, 10, cost=ONE)
    assert (nothing.sustained, nothing.most) == (math.inf, math.inf)


def test_the_oracle_leaves_outages_out() -> None:
    """A whole one counts nothing, a burst of failures its share; a bucket is full behind it, and no fuller."""
    quota = Quota(requests_per_minute=60, window_s=10)
    whole = Load(quotas=[quota], outages=[Outage(start_s=10, length_s=50)])
    oracle = ask_oracle(whole, 0, 100, cost=ONE)
    assert oracle.sustained == 50
    assert oracle.most == 10 + 10 + 10 + 40  # full, refilled, full again, refilled
    burst = Load(quotas=[quota], outages=[Outage(start_s=10, length_s=50, ratio=0.5)])
    assert ask_oracle(burst, 0, 100, cost=ONE).sustained == 75


def test_the_oracle_counts_tokens() -> None:
    """The tighter of requests and tokens, at what a call costs."""
    load = Load(quotas=[Quota(requests_per_minute=600, tokens_per_minute=6_000)])
    assert ask_oracle(load, 0, 60, cost={"requests": 1, "tokens": 20}).quota == 300
    assert ask_oracle(load, 0, 60, cost={"requests": 1, "tokens": 5}).quota == 600
    assert ask_oracle(Load(quotas=[Quota(tokens_per_minute=5)]), 0, 60, cost=ONE).most == math.inf


def test_outages_come_and_go() -> None:
    """Half-open stretches, once or again and again."""
    once, again = Outage(start_s=5, length_s=2), Outage(start_s=5, length_s=2, every_s=10)
    assert [once.is_on(at_s) for at_s in (4.9, 5, 6.9, 7, 15)] == [False, True, True, False, False]
    assert [again.is_on(at_s) for at_s in (4.9, 5, 6.9, 7, 15)] == [False, True, True, False, True]
    assert list(once.boundaries(0, 100)) == [5, 7]
    assert list(again.boundaries(6, 26)) == [7, 15, 17, 25]


@given(st.floats(0, 9), st.floats(0.01, 5), st.floats(0.01, 5), st.integers(1, 20))
def test_an_outage_begins_and_ends_at_its_boundaries(start_s: float, length_s: float, gap_s: float, count: int) -> None:
    """On from each begin to each end, by turns, whatever floats round to."""
    outage = Outage(start_s=start_s, length_s=length_s, every_s=length_s + gap_s)
    edges = list(itertools.islice(outage.boundaries(-1, math.inf), 2 * count))
    assert edges == sorted(edges)
    assert [outage.is_on(at_s) for at_s in edges] == [True, False] * count
    steps = Steps(factors=(0, 1), each_s=length_s)
    turns = list(itertools.islice(steps.boundaries(0, math.inf), count))
    assert [steps.factor(at_s) for at_s in turns] == [(number + 1) % 2 for number in range(count)]


@given(st.sampled_from(["lognormal", "pareto"]), st.floats(0.01, 10), st.floats(0.0001, 0.9999))
def test_latencies_have_the_median_they_are_told(kind: Any, median_s: float, share: float) -> None:
    """Half lie below it; a larger share is a longer latency; none is beyond the bound."""
    latency = Latency(kind=kind, median_s=median_s, max_s=median_s * 3)
    assert latency.draw(0.5) == pytest.approx(median_s)
    assert (latency.draw(share) <= median_s) == (share <= 0.5) or latency.draw(share) == pytest.approx(median_s)
    assert 0 < latency.draw(share) <= median_s * 3
    assert median_s * 0.5 < latency.mean_s < median_s * 3


def test_what_a_load_draws_follows_from_the_request() -> None:
    """Not from the order of arrival; another seed draws anew."""
    load = Load(latency=Latency(kind="lognormal", median_s=1), outages=[Outage(start_s=0, length_s=9, ratio=0.5)])

    def draw(seed: int, order: Sequence[int]) -> dict[int, tuple[float, bool]]:
        admission = Admission(load.model_copy(update={"seed": seed}))
        digests = {number: bytes([number]) * 32 for number in order}
        return {
            number: (
                admission.arrive(1.0, Request(digest, 1, Cost(1, 1, 1))).delay_s,
                admission.find_outage(1.0, digest, 1) is None,
            )
            for number, digest in digests.items()
        }

    forward, backward = draw(0, range(40)), draw(0, range(39, -1, -1))
    assert forward == backward != draw(1, range(40))
    assert 8 < sum(is_fine for _, is_fine in forward.values()) < 32


def test_capacity_refuses_what_comes_beyond_it() -> None:
    """Until one that was let in is released; steps change how many."""
    capacity = Capacity(concurrency=2, status=503, retry_after_s=3, steps=Steps(factors=(1, 2), each_s=10))
    admission = Admission(Load(capacity=capacity))
    request = Request(DIGEST, 1, Cost(1, 1, 1))
    verdicts = [admission.arrive(0.0, request) for _ in range(3)]
    assert [verdict.refusal for verdict in verdicts] == [None, None, "capacity"]
    assert (verdicts[2].status, verdicts[2].retry_after_s) == (503, 3)
    admission.release()
    assert admission.arrive(1.0, request).refusal is None
    assert [admission.arrive(10.0, request).refusal for _ in range(3)] == [None, None, "capacity"]


def test_a_quota_that_is_not_enforced_only_counts() -> None:
    """What comes beyond is told, and let in."""
    admission = Admission(Load(quotas=[per_second(1, 60, "fixed", enforced=False)]))
    verdicts = [admission.arrive(0.0, Request(DIGEST, 1, Cost(1, 1, 1))) for _ in range(3)]
    assert [(verdict.refusal, verdict.is_excess) for verdict in verdicts] == [(None, False), (None, True), (None, True)]


def test_of_several_quotas_the_tightest_is_told() -> None:
    """By what is left of it; limits as providers tell them, for a minute."""
    meters = [Meter(Quota(requests_per_minute=600, window_s=1)), Meter(Quota(requests_per_minute=300))]
    for meter in meters:
        meter.take(0.0, {"requests": 6})
    (standing,) = join_standings(meters, 0.0)
    assert (standing.unit, standing.per_minute, standing.limit, standing.remaining) == ("requests", 600, 10, 4)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Quota, "needs at least one of requests_per_minute"),
        (lambda: Steps(factors=(-1,), each_s=1), "cannot be below 0"),
        (lambda: Outage(start_s=0, length_s=5, every_s=5), "every_s is more than length_s"),
        (lambda: Outage(start_s=0, length_s=5, kind="refused", ratio=0.5), "takes no ratio"),
        (lambda: Capacity(concurrency=0), "concurrency"),
    ],
)
def test_a_load_is_checked_when_made(make: Any, told: str) -> None:
    """What cannot be is the author's error."""
    with pytest.raises(ConfigError, match=told):
        make()


def test_a_load_crosses_to_another_process() -> None:
    """JSON and back is the same."""
    load = Load(
        quotas=[Quota(requests_per_minute=5, kind="fixed", steps=Steps(factors=(1, 2), each_s=3))],
        queue=Queue(servers=2, service=Latency(kind="pareto", median_s=1)),
        outages=[Outage(start_s=1, length_s=2)],
    )
    assert Load.model_validate_json(load.model_dump_json(exclude_defaults=True)) == load
