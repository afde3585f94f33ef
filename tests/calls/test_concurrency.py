import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tidemill.calls.admission.concurrency import AdaptiveLimit, ConcurrencyRange
from tidemill.calls.limits import AUTO, Concurrency

BOUNDS = st.tuples(st.integers(1, 50), st.integers(0, 50), st.integers(0, 500)).map(
    lambda drawn: ConcurrencyRange(drawn[0], drawn[0] + drawn[1], drawn[0] + drawn[1] + drawn[2])
)


def answer(limit: AdaptiveLimit, count: int, *, start: float = 0.0, latency_s: float = 1.0, used: bool = True) -> float:
    """So many good replies, a limit's worth of them in a latency; gives the time then."""
    now = start
    for _ in range(count):
        now += latency_s / limit.limit
        limit.succeed(now, epoch=limit.epoch, latency_s=latency_s, is_used=used)
    return now


@given(
    bounds=BOUNDS,
    events=st.lists(
        st.tuples(
            st.sampled_from(["good", "refused", "late", "restart"]),
            st.integers(-1, 0),
            st.floats(0.0, 20.0),
            st.booleans(),
        ),
        max_size=300,
    ),
)
def test_it_never_leaves_its_bounds(bounds: ConcurrencyRange, events: list[tuple[str, int, float, bool]]) -> None:
    """Whatever comes, in whichever order; a fixed one never moves."""
    limit, now = AdaptiveLimit(bounds), 0.0
    for kind, back, latency_s, used in events:
        now += 0.01
        epoch = limit.epoch + back
        match kind:
            case "good":
                limit.succeed(now, epoch=epoch, latency_s=latency_s, is_used=used)
            case "refused":
                limit.throttle(now, epoch, throughput=latency_s)
            case "late":
                limit.time_out(epoch)
            case _:
                limit.restart()
        assert bounds.minimum <= limit.limit <= bounds.maximum


def test_it_doubles_in_the_time_of_a_call_at_first() -> None:
    """Slow start: one more for each good reply."""
    limit = AdaptiveLimit(ConcurrencyRange(1, 16, 2_000))
    answer(limit, 16)
    assert limit.limit == 32
    answer(limit, 32, start=1.0)
    assert limit.limit == 64


def test_it_grows_only_where_it_was_used() -> None:
    """Good replies to calls that nothing held back say nothing about more of them."""
    limit = AdaptiveLimit(ConcurrencyRange(1, 16, 2_000))
    answer(limit, 1_000, used=False)
    assert limit.limit == 16


def test_one_event_is_one_decrease() -> None:
    """Fifty calls sent under one limit and refused together shrink it once; those sent after it may again."""
    limit = AdaptiveLimit(ConcurrencyRange(1, 100, 2_000))
    epoch = limit.epoch
    shrunk = [limit.throttle(1.0, epoch, throughput=0.0) for _ in range(50)]
    assert shrunk == [True] + [False] * 49
    assert limit.limit == 50
    assert limit.throttle(1.0, limit.epoch, throughput=0.0)
    assert limit.limit == 25


def test_a_reply_to_a_call_from_before_the_decrease_does_not_undo_it() -> None:
    """It says how things were under another limit."""
    limit = AdaptiveLimit(ConcurrencyRange(1, 100, 2_000))
    epoch = limit.epoch
    limit.time_out(epoch)
    assert limit.limit == 70
    for _ in range(100):
        limit.succeed(1.0, epoch=epoch, latency_s=1.0, is_used=True)
    assert limit.limit == 70


def test_a_refusal_shrinks_it_to_what_was_carried() -> None:
    """Throughput times latency (Little's law), at least to half; by a twentieth where that is as good as the limit."""
    limit = AdaptiveLimit(ConcurrencyRange(1, 100, 2_000))
    answer(limit, 100, latency_s=2.0, used=False)
    limit.throttle(3.0, limit.epoch, throughput=30.0)
    assert limit.limit == 57
    limit.throttle(4.0, limit.epoch, throughput=1.0)
    assert limit.limit == 28
    for throughput in (14.0, 1_000.0):
        before = limit.limit
        limit.throttle(5.0, limit.epoch, throughput=throughput)
        assert int(0.94 * before) <= limit.limit < before


def test_after_a_refusal_it_is_soon_near_the_bound_and_slow_beyond_it() -> None:
    """Nine tenths of what was too much within a few calls' time; a few per cent a call's time from there."""
    limit = AdaptiveLimit(ConcurrencyRange(1, 200, 2_000))
    limit.throttle(0.0, limit.epoch, throughput=0.0)
    assert limit.limit == 100
    now = answer(limit, 100)
    now = answer(limit, 150, start=now)
    assert limit.limit >= 160
    now = answer(limit, 200, start=now)
    near = limit.limit
    answer(limit, near, start=now)
    assert near < limit.limit <= 1.1 * near


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (16, (16, 16, 16)),
        ("16", (16, 16, 16)),
        ("auto", AUTO),
        ({}, AUTO),
        ({"max": 8}, (1, 8, 8)),
        ({"min": 40}, (40, 40, 512)),
        ({"min": 4, "start": 32, "max": 2_000}, (4, 32, 2_000)),
    ],
)
def test_it_is_given_as_a_number_or_a_range(value: object, bounds: tuple[int, int, int]) -> None:
    """And is told again as it was given, so that a job file keeps its form."""
    concurrency = Concurrency.model_validate(value)
    assert tuple(concurrency.to_range()) == bounds
    assert Concurrency.model_validate(concurrency.model_dump()) == concurrency


@pytest.mark.parametrize(
    "value", [0, -1, 10_001, {"max": 10_001}, True, 1.5, "many", None, [1], {"min": 5, "max": 4}, {"start": 0}]
)
def test_what_is_no_number_of_calls_is_refused(value: object) -> None:
    """With what was expected."""
    with pytest.raises(
        ValidationError, match=r"expected a number of calls|expected min <= start <= max|greater than|less than"
    ):
        Concurrency.model_validate(value)
