import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.admission.pace import LONGEST_S, Pace
from tidemill.calls.admission.search import NEAR_RATIO
from tidemill.calls.admission.throughput import Throughput


def carry(throughput: Throughput, rate: float, start: float, stop: float) -> None:
    """Good replies at a steady rate."""
    now = start
    while now < stop:
        throughput.send(now)
        now += 1 / rate


@given(rate=st.floats(2.0, 200.0), over_s=st.floats(1.0, 30.0))
def test_throughput_is_what_came_lately(rate: float, over_s: float) -> None:
    """Within a step's worth of it, and only what is in the window."""
    throughput = Throughput()
    carry(throughput, 500.0, 0.0, 2.0)
    carry(throughput, rate, 10.0, 50.0)
    measured = throughput.per_second(50.0, over_s)
    assert measured == pytest.approx(rate, rel=0.3 / over_s + 0.05, abs=2.0)


def test_before_a_minute_is_over_it_is_since_the_first() -> None:
    """An empty start does not count as time in which nothing was let through."""
    throughput = Throughput()
    carry(throughput, 100.0, 1_000.0, 1_002.0)
    assert throughput.lately(1_002.0) == pytest.approx(100.0, rel=0.15)


def test_there_is_no_pace_until_something_is_refused() -> None:
    """And none waits for it."""
    pace, throughput = Pace(), Throughput()
    for step in range(100):
        pace.take(step / 10)
        pace.succeed(step / 10, throughput, latency_s=0.1, limit=16, is_again=True)
    assert pace.is_open
    assert pace.wait_s(10.0) <= 0.0


def test_a_refusal_brings_it_to_what_was_carried() -> None:
    """And a row of them to one attempt a second, or what a minute carried where that is less, which is kept to."""
    pace, throughput = Pace(), Throughput()
    carry(throughput, 40.0, 0.0, 10.0)
    pace.throttle(10.0, throughput)
    assert pace.rate == pytest.approx(38.0, rel=0.1)
    for row in range(20):
        throughput.send(10.0 + row)
        throughput.refuse(10.0 + row)
        pace.throttle(10.0 + row, throughput)
    assert pace.rate == 1.0
    pace.take(40.0)
    pace.take(40.0)
    assert 0.0 < pace.wait_s(40.0) <= 1.0
    for row in range(20):
        throughput.send(100.0 + row)
        throughput.refuse(100.0 + row)
        pace.throttle(100.0 + row, throughput)
    assert pace.rate == 1.0 / LONGEST_S


def test_it_goes_as_often_as_it_says() -> None:
    """Over any stretch, the attempts that were let go are the rate's."""
    pace, throughput = Pace(), Throughput()
    carry(throughput, 20.0, 0.0, 10.0)
    pace.throttle(10.0, throughput)
    now, went = 10.0, 0
    while now < 20.0:
        if pace.wait_s(now) <= 0.0:
            pace.take(now)
            went += 1
        now += 0.001
    assert went == pytest.approx(10 * pace.rate, abs=2)


def test_it_is_soon_back_near_what_was_carried_and_slow_beyond() -> None:
    """Doubling several times a second, then a few per cent."""
    pace, throughput = Pace(), Throughput()
    carry(throughput, 100.0, 0.0, 10.0)
    for _ in range(20):
        throughput.refuse(10.0)
        pace.throttle(10.0, throughput)
    low, now = pace.rate, 10.0
    while now < 12.6:
        now += 0.05
        throughput.send(now)
        pace.succeed(now, throughput, latency_s=0.1, limit=64, is_again=True)
    assert pace.rate >= NEAR_RATIO * 95.0 > 10 * low
    near = pace.rate
    while now < 13.1:
        now += 0.05
        throughput.send(now)
        pace.succeed(now, throughput, latency_s=0.1, limit=64, is_again=True)
    assert pace.rate <= 1.1 * near


def test_a_reply_to_an_attempt_from_before_the_refusal_does_not_end_it() -> None:
    """It was let through before."""
    pace, throughput = Pace(), Throughput()
    carry(throughput, 100.0, 0.0, 10.0)
    pace.throttle(10.0, throughput)
    pace.throttle(10.1, throughput)
    before = pace.rate
    pace.succeed(10.2, throughput, latency_s=1.0, limit=64, is_again=False)
    assert pace.rate == before
