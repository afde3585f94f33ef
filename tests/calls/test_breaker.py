import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.breaker import Breaker


def make_breaker(**given_: Any) -> Breaker:
    terms: dict[str, Any] = {"failures": 3, "connect_s": 5.0, "outage_s": 300.0, "rng": random.Random(0)}
    return Breaker(**terms | given_)


def fail(breaker: Breaker, now: float, **given_: Any) -> None:
    breaker.fail(now, **{"sent_at": now, "connected": True, "counts": True} | given_)


def opened(now: float = 0.0, **given_: Any) -> Breaker:
    breaker = make_breaker(**given_)
    for _ in range(3):
        fail(breaker, now)
    assert not breaker.is_closed
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    """A success between them starts the count anew; a call's further failures are no further evidence."""
    breaker = make_breaker()
    fail(breaker, 0.0)
    fail(breaker, 1.0)
    breaker.succeed()
    fail(breaker, 2.0)
    fail(breaker, 3.0)
    fail(breaker, 4.0, counts=False)
    assert breaker.is_closed
    fail(breaker, 5.0)
    assert not breaker.is_closed


def test_one_probe_at_a_time_after_growing_pauses() -> None:
    """Each failed probe doubles the pause, up to 3 s; the next is due only then."""
    breaker = opened()
    now, pauses = 0.0, []
    for _ in range(10):
        due = breaker.next_event_at()
        assert not breaker.acquire_probe(math.nextafter(due, 0))
        probe = breaker.acquire_probe(due)
        assert probe
        assert not breaker.acquire_probe(due)
        pauses.append(due - now)
        now = due
        fail(breaker, now, probe=probe)
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses[:3]))
    assert max(pauses) <= 3.0


def test_a_success_closes_it_and_a_late_failure_does_not_disturb_it() -> None:
    """Any answer closes; a failure of an attempt from before it opened leaves the probes' pace alone."""
    breaker = opened()
    due = breaker.next_event_at()
    fail(breaker, 0.1)
    assert breaker.next_event_at() == due
    breaker.acquire_probe(due)
    breaker.succeed()
    assert breaker.is_closed
    assert breaker.is_calm
    assert breaker.gives_up_at() == math.inf


def test_a_returned_probe_is_given_to_the_next() -> None:
    """A probe that was never sent says nothing; one that is over cannot be returned."""
    breaker = opened()
    due = breaker.next_event_at()
    first = breaker.acquire_probe(due)
    breaker.return_probe(due, first)
    second = breaker.acquire_probe(due)
    assert second
    breaker.return_probe(due, first)
    assert not breaker.acquire_probe(due)


def test_a_server_that_names_a_pause_is_not_probed_before() -> None:
    """Retry-After of a 503 moves the next probe, also when it comes late."""
    breaker = make_breaker(failures=1)
    fail(breaker, 0.0, retry_after_s=20.0)
    assert not breaker.acquire_probe(19.9)
    fail(breaker, 10.0, retry_after_s=30.0)
    assert not breaker.acquire_probe(39.9)
    assert breaker.acquire_probe(40.0)


def test_it_gives_up_when_open_for_outage_s() -> None:
    """Until then it only waits; failed probes do not extend it."""
    breaker = opened(10.0)
    assert not breaker.has_given_up(309.9)
    fail(breaker, 100.0, probe=breaker.acquire_probe(100.0))
    assert breaker.has_given_up(310.0)
    assert breaker.acquire_probe(400.0), "one probe may still find it back"


def test_an_endpoint_never_reached_gives_up_after_connect_s_from_the_first_try() -> None:
    """The clock starts with the first try, not with the first failure, and only a connection ever stops it."""
    breaker = make_breaker()
    fail(breaker, 12.0, sent_at=10.0, connected=False)
    assert not breaker.has_given_up(14.9)
    assert breaker.has_given_up(15.0)
    fail(breaker, 14.0, connected=True)
    assert not breaker.has_given_up(15.0)


def test_an_endpoint_reached_before_is_not_judged_by_connect_s() -> None:
    """One that was there and is gone gets outage_s."""
    breaker = make_breaker(failures=1)
    breaker.succeed()
    fail(breaker, 100.0, connected=False)
    assert not breaker.has_given_up(399.0)
    assert breaker.has_given_up(400.0)


@given(steps=st.lists(st.tuples(st.sampled_from("afstr"), st.floats(0, 30)), max_size=60))
@pytest.mark.parametrize("failures", [1, 3])
def test_never_two_probes_and_never_stuck(failures: int, steps: list[tuple[str, float]]) -> None:
    """Whatever happens, at most one probe is out, and a breaker without one names a time when one is due."""
    breaker, now, probe = make_breaker(failures=failures), 0.0, 0
    for step, gap in steps:
        now += gap
        if step == "a":
            taken = breaker.acquire_probe(now)
            assert not (taken and probe)
            probe = taken or probe
        elif step == "f":
            fail(breaker, now)
        elif step == "t":
            fail(breaker, now, probe=probe)
            probe = 0
        elif step == "s":
            breaker.succeed()
            probe = 0
        elif probe:
            breaker.return_probe(now, probe)
            probe = 0
    if not breaker.is_closed and not probe:
        due = max(now, breaker.next_event_at())
        assert due < now + 16 or breaker.has_given_up(due)
        assert breaker.acquire_probe(due + 16)
