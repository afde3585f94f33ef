import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.calls.admission.allowance import Allowance, Told, find_told, tells_allowance
from tidemill.calls.admission.quota import NO_COST, Cost


def test_openai_tells_what_is_left() -> None:
    """Numbers, and durations as Go writes them."""
    headers = {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-tokens": "1m30.5s",
    }
    assert tells_allowance(headers)
    assert find_told(headers, wall_s=0.0) == [
        Told("requests", 9_999, 10_000, 0.006),
        Told("tokens", 1_999_000, 2_000_000, 90.5),
    ]


def test_anthropic_tells_what_is_left() -> None:
    """Times of day, from which the seconds follow; input and output apart."""
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:40Z",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-reset": "1970-01-01T00:00:30Z",
    }
    assert tells_allowance(headers)
    assert find_told(headers, wall_s=40.0) == [Told("requests", 49, 50, 60.0), Told("output_tokens", 0, 8_000, 0.0)]


@given(value=st.text(max_size=20) | st.sampled_from(["-1", "1e9", "nan", "inf", "1h2m3s", "5", "0.25s", "٣"]))
def test_a_header_that_makes_no_sense_says_nothing(value: str) -> None:
    """Nothing raises, no number is made up."""
    headers = {"x-ratelimit-remaining-requests": value, "anthropic-ratelimit-requests-remaining": value}
    for told in find_told(headers, wall_s=0.0):
        assert told.remaining == float(value)
    reset = {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": value}
    (told,) = find_told(reset, wall_s=0.0)
    assert told.reset_s is None or told.reset_s >= 0.0


def test_what_was_sent_since_is_taken_off() -> None:
    """Between two replies no more goes than the last one left."""
    allowance = Allowance("requests")
    assert allowance.wait_s(0.0, NO_COST) == 0.0
    places = [allowance.send(0.0, NO_COST) for _ in range(3)]
    allowance.note(Told("requests", 4, 10, None), place=places[0], sent_at=0.0, now=0.1)
    assert allowance.left(0.1) == 2
    allowance.send(0.1, NO_COST)
    allowance.send(0.1, NO_COST)
    assert allowance.left(0.1) == 0
    assert allowance.wait_s(0.1, NO_COST) > 0.0


def test_an_older_reply_says_nothing_new() -> None:
    """Replies come in any order; the attempt sent last knows best."""
    allowance = Allowance("requests")
    first, second = allowance.send(0.0, NO_COST), allowance.send(0.0, NO_COST)
    allowance.note(Told("requests", 5, 10, None), place=second, sent_at=0.0, now=0.1)
    allowance.note(Told("requests", 9, 10, None), place=first, sent_at=0.0, now=0.2)
    assert allowance.left(0.2) == 5


def test_what_was_refused_took_nothing() -> None:
    """It is not taken off."""
    allowance = Allowance("tokens")
    place = allowance.send(0.0, Cost(10, 0))
    allowance.note(Told("tokens", 90, 100, None), place=place, sent_at=0.0, now=0.1)
    refused = allowance.send(0.1, Cost(50, 0))
    assert allowance.left(0.1) == 40
    allowance.refuse(refused, Cost(50, 0))
    assert allowance.left(0.1) == 90


@settings(max_examples=30)
@given(rate=st.floats(5.0, 500.0), latency_s=st.floats(0.01, 0.5))
def test_a_refill_is_followed(rate: float, latency_s: float) -> None:
    """A bucket's rate is found from its replies, without a refusal; where none can come, one asks every two seconds."""
    allowance, level, now, sent = Allowance("requests"), rate, 0.0, 0
    notes: list[tuple[float, float, float, float]] = []
    began = rate
    while now < 6.0:
        now += 0.002
        level = min(rate, level + rate * 0.002)
        while notes and notes[0][0] <= now:
            _, place, sent_at, remaining = notes.pop(0)
            allowance.note(Told("requests", remaining, None, None), place=place, sent_at=sent_at, now=now)
        if allowance.wait_s(now, NO_COST) <= 0.0 and level >= 1:
            place = allowance.send(now, NO_COST)
            level -= 1
            sent += 1
            notes.append((now + latency_s, place, now, float(int(level))))
    assert sent >= 0.65 * (began + rate * 6.0) - 5


def test_all_of_it_is_back_at_its_reset() -> None:
    """One attempt goes to ask how much that is, where nothing was left that could tell."""
    allowance = Allowance("requests")
    place = allowance.send(0.0, NO_COST)
    allowance.refuse(place, NO_COST)
    allowance.note(Told("requests", 0, 600, 5.0), place=place, sent_at=0.0, now=0.0)
    assert allowance.wait_s(1.0, NO_COST) == pytest.approx(4.0)
    assert allowance.wait_s(5.0, NO_COST) == 0.0
    allowance.send(5.0, NO_COST)
    assert allowance.wait_s(5.1, NO_COST) > 0.0
