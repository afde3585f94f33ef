import threading
from collections import deque
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.admission.quota import NO_COST, Cost, Quota, QuotaRates, Reservation, share_quota
from tidemill.errors import ConfigError

GAPS = st.floats(0, 5) | st.just(0.0) | st.floats(50, 70)
AMOUNTS = st.integers(0, 50) | st.integers(0, 2_000)


def sent_times(rates: QuotaRates, arrivals: Sequence[tuple[float, Cost]]) -> list[tuple[float, Cost]]:
    """When requests that arrive with these gaps go, each as soon as the quota lets it."""
    quota, now, sent = Quota(rates), 0.0, []
    for gap, cost in arrivals:
        now += gap
        while wait_s := quota.take(now, cost):
            assert wait_s > 0
            now += wait_s
        sent.append((now, cost))
    return sent


def most_in_a_minute(events: Sequence[tuple[float, int]]) -> int:
    """The largest sum that any closed window of 60 s holds."""
    most = total = oldest = 0
    for time, amount in events:
        total += amount
        while events[oldest][0] < time - 60.0:
            total -= events[oldest][1]
            oldest += 1
        most = max(most, total)
    return most


@given(rate=st.integers(1, 5000), gaps=st.lists(GAPS, min_size=1, max_size=300))
def test_no_60_seconds_hold_more_than_the_rate(rate: int, gaps: list[float]) -> None:
    """At most N requests go in any 60 s, both ends included, whatever the arrivals."""
    sent = sent_times(QuotaRates(rate), [(gap, NO_COST) for gap in gaps])
    assert most_in_a_minute([(time, 1) for time, _ in sent]) <= rate


@given(
    rates=st.builds(QuotaRates, *(st.none() | st.integers(low, 3_000) for low in (1, 1, 1, 1))).filter(any),
    arrivals=st.lists(st.tuples(GAPS, st.builds(Cost, AMOUNTS, AMOUNTS)), min_size=1, max_size=120),
)
def test_no_60_seconds_hold_more_tokens_than_a_limit(rates: QuotaRates, arrivals: list[tuple[float, Cost]]) -> None:
    """Each measure holds, joined with the others; a request larger than one goes alone and counts as all of it."""
    sent = sent_times(rates, arrivals)
    for name, rate in rates._asdict().items():
        if rate is not None:
            assert most_in_a_minute([(time, min(cost.measure(name), rate)) for time, cost in sent]) <= rate


def test_a_full_minute_uses_the_share_it_promises() -> None:
    """A source that always has more gets at least 97 % of N in a minute, after a tenth of a second's burst."""
    for rate in (60, 600, 6000):
        sent = [time for time, _ in sent_times(QuotaRates(rate), [(0.0, NO_COST)] * rate * 2)]
        assert sum(time <= 60.0 for time in sent) >= 0.97 * rate
        assert sum(time == 0.0 for time in sent) <= rate / 600 + 1


def test_tokens_use_the_share_they_promise() -> None:
    """Requests of 100 tokens at 60,000 a minute: at least 97 % of them, reserved as they come."""
    sent = sent_times(QuotaRates(tokens=60_000), [(0.0, Cost(60, 40))] * 1_300)
    assert sum(time <= 60.0 for time, _ in sent) >= 0.97 * 600


def test_asking_in_vain_counts_nothing() -> None:
    """A refused request leaves the quota as it was, in all measures: all or nothing."""
    quota = Quota(QuotaRates(requests=60, tokens=600))
    assert quota.take(0.0, Cost(10, 0)) == 0.0
    waits = [quota.take(0.5, Cost(10, 0)) for _ in range(5)]
    assert waits[0] > 0
    assert waits == waits[:1] * 5
    assert quota.take(0.5 + waits[0] + 1e-9, Cost(10, 0)) == 0.0
    full = Quota(QuotaRates(requests=6_000, tokens=100))
    assert full.take(0.0, Cost(100, 0)) == 0.0
    for _ in range(200):  # no tokens are left, and the requests asked for in vain are no requests
        assert full.take(1.0, Cost(1, 0)) > 1.0
    assert full.take(62.0, Cost(1, 0)) == 0.0


def test_what_was_not_sent_counts_nothing() -> None:
    """A refund makes room for just as much."""
    quota = Quota(QuotaRates(tokens=100))
    assert quota.take(0.0, Cost(100, 0)) == 0.0
    assert quota.take(0.0, Cost(100, 0)) > 0
    quota.refund(Reservation(0.0, Cost(100, 0)))
    assert quota.take(0.0, Cost(100, 0)) == 0.0


def test_what_came_to_more_is_a_debt_and_what_came_to_less_is_free() -> None:
    """Usage replaces the reservation: those that follow wait for what was too little, and get what was too much."""
    quota = Quota(QuotaRates(tokens=6_000))
    quota.take(0.0, Cost(100, 0))
    quota.settle(2.0, Reservation(0.0, Cost(100, 0)), Cost(900, 100))
    assert quota.take(2.0, Cost(50, 0)) == pytest.approx(900 / 98, abs=0.2)
    free = Quota(QuotaRates(tokens=6_000))
    free.take(0.0, Cost(1_000, 0))
    assert free.take(1.0, Cost(10, 0)) > 8
    free.settle(1.0, Reservation(0.0, Cost(1_000, 0)), Cost(10, 0))
    assert free.take(1.0, Cost(10, 0)) == 0.0


@given(
    used=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 400)), min_size=1, max_size=80),
    late=st.floats(0, 3),
)
def test_a_debt_is_never_forgotten(used: list[tuple[int, int]], late: float) -> None:
    """What settled requests came to stays under 0.98 of the limit in the long run, whatever was reserved for them."""
    quota, now, total = Quota(QuotaRates(tokens=6_000)), 0.0, 0
    for reserved, came_to in used:
        while wait_s := quota.take(now, Cost(reserved, 0)):
            now += wait_s
        quota.settle(now + late, Reservation(now, Cost(reserved, 0)), Cost(came_to, 0))
        total += came_to
    while wait_s := quota.take(now, Cost(1, 0)):
        now += wait_s
    assert total <= 98 * (now + late) + 98 + 400


def test_limits_of_one_name_are_one_quota() -> None:
    """Of all threads of a process, as long as somebody uses it; other numbers under its name are refused."""
    rates = QuotaRates(requests=60)
    quota = share_quota("shared", rates)
    assert share_quota("shared", rates) is quota
    assert share_quota(None, rates) is not share_quota(None, rates)
    with pytest.raises(ConfigError, match="limits named `shared` are in use with other numbers"):
        share_quota("shared", QuotaRates(requests=61))
    taken: list[float] = []

    def take(shared: Quota) -> None:
        taken.append(shared.take(0.0))

    threads = [threading.Thread(target=take, args=(quota,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(0.0) == 1
    del quota, threads
    assert share_quota("shared", QuotaRates(requests=61)).rates.requests == 61


STEPS = st.lists(st.tuples(st.floats(0, 90), st.sampled_from([1, 7, 60, 600])), min_size=1, max_size=4)


@given(start=st.integers(1, 600), steps=STEPS, amount=st.sampled_from([None, 1, 5, 100]))
def test_what_went_under_another_limit_counts(start: int, steps: list[tuple[float, int]], amount: int | None) -> None:
    """Where one goes, the 60 s up to then hold no more than the limit that stands, however it was changed in them.

    Of a source that always has more, of requests or of tokens; one that is larger than the limit counts as all of it.
    """
    measure, cost = ("requests", NO_COST) if amount is None else ("tokens", Cost(amount))
    quota, now, sent = Quota(QuotaRates(**{measure: start})), 0.0, deque[tuple[float, int]]()
    for limit, until in zip([start, *(limit for _, limit in steps)], [*(gap for gap, _ in steps), 90.0], strict=True):
        quota.change(QuotaRates(**{measure: limit}))
        until += now
        while now < until:
            if wait_s := quota.take(now, cost):
                now += wait_s
                continue
            sent.append((now, min(amount or 1, limit)))
            while sent[0][0] < now - 60.0:
                sent.popleft()
            assert sum(each for _, each in sent) <= limit


def test_a_tenth_of_the_rate_waits_for_the_minute_before() -> None:
    """And then goes by its own: the far side counts the minute as it was."""
    quota, now, sent = Quota(QuotaRates(requests=6_000)), 0.0, 0
    while now < 55.0:
        wait_s = quota.take(now)
        now, sent = now + wait_s, sent + (not wait_s)
    quota.change(QuotaRates(requests=600))
    assert 5_300 < sent < 5_500
    assert now + quota.take(now) == pytest.approx(60.0 + (sent - 599) / 98, abs=0.3)
    assert quota.take(116.0) == 0.0


def test_other_limits_take_over_what_went() -> None:
    """At once; what is no longer limited is not waited for."""
    quota = Quota(QuotaRates(requests=6_000))
    while not quota.take(0.0):
        pass
    quota.change(QuotaRates(requests=60))
    assert quota.take(1.0) == 0.0
    assert quota.take(1.0) == pytest.approx(60 / 58.8)
    quota.change(QuotaRates(tokens=100))
    assert quota.take(1.0, Cost(5, 5)) == 0.0


def test_one_of_several_owners_is_not_overtaken() -> None:
    """A large request of one lane waits for its turn; small ones of another, which come later, wait behind it."""
    quota = Quota(QuotaRates(input_tokens=60_000))
    large, small = object(), object()
    now, went = 0.0, 0
    while not quota.take(now, Cost(100, 0), owner=small):
        went += 1
    waits = quota.take(now, Cost(10_000, 0), owner=large)
    assert waits > 0
    while now < 15.0 and waits:
        now += 0.01
        went += not quota.take(now, Cost(100, 0), owner=small)
        waits = quota.take(now, Cost(10_000, 0), owner=large)
    assert waits == 0.0
    assert now < 12.0
    assert quota.take(now + 11.0, Cost(100, 0), owner=small) == 0.0


def test_one_who_waits_no_more_is_passed_over() -> None:
    """A call that was cancelled while it waited keeps nobody."""
    quota = Quota(QuotaRates(requests=60))
    gone, other = object(), object()
    assert quota.take(0.0, owner=other) == 0.0
    assert quota.take(0.0, owner=gone) > 0.0
    assert quota.take(1.03, owner=other) > 0.0
    assert quota.take(1.2, owner=other) == 0.0
