from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.quota import Quota, QuotaRates


def sent_times(rate: int, arrivals: list[float]) -> list[float]:
    """When requests that arrive with these gaps go, each as soon as the quota lets it."""
    quota, now, sent = Quota(QuotaRates(rate)), 0.0, []
    for gap in arrivals:
        now += gap
        while wait_s := quota.take(now):
            now += wait_s
        sent.append(now)
    return sent


@given(
    rate=st.integers(1, 5000),
    arrivals=st.lists(st.floats(0, 5) | st.just(0.0) | st.floats(50, 70), min_size=1, max_size=300),
)
def test_no_60_seconds_hold_more_than_the_rate(rate: int, arrivals: list[float]) -> None:
    """At most N requests go in any 60 s, both ends included, whatever the arrivals."""
    sent = sent_times(rate, arrivals)
    oldest = 0
    for newest, time in enumerate(sent):
        while sent[oldest] < time - 60.0:
            oldest += 1
        assert newest - oldest + 1 <= rate


def test_a_full_minute_uses_the_share_it_promises() -> None:
    """A source that always has more gets at least 97 % of N in a minute, after one second's burst."""
    for rate in (60, 600, 6000):
        sent = sent_times(rate, [0.0] * rate * 2)
        assert sum(time <= 60.0 for time in sent) >= 0.97 * rate
        assert sum(time == 0.0 for time in sent) <= rate / 60 + 1


def test_asking_in_vain_counts_nothing() -> None:
    """A refused request leaves the quota as it was."""
    quota = Quota(QuotaRates(60))
    assert quota.take(0.0) == 0.0
    waits = [quota.take(0.5) for _ in range(5)]
    assert waits[0] > 0
    assert waits == waits[:1] * 5
    assert quota.take(0.5 + waits[0] + 1e-9) == 0.0
