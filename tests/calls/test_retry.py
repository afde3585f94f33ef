import email.utils
import random
import string

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.retry import (
    RetryBudget,
    backoff_s,
    find_cause,
    is_outage,
    is_refusal,
    judge_response,
    parse_retry_after,
)
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError
from tidemill.errors import CallError, PermanentCallError, TransientCallError

REQUEST = Request("https://api.example/v1/chat", {"authorization": "Bearer verysecretvalue"}, b"{}", 10)


def judged(status: int, body: bytes = b"", retry_after: str = "") -> CallError:
    headers = {"retry-after": retry_after} if retry_after else {}
    return judge_response(Response(status, headers, body), REQUEST, wall_s=0.0)


@given(failures=st.integers(1, 2000), seed=st.integers(0, 1000))
def test_backoff_is_full_jitter(failures: int, seed: int) -> None:
    """Waits are uniform from 0 to 0.5 s doubled each time, at most 30 s, and follow from the rng alone."""
    wait_s = backoff_s(failures, random.Random(seed))
    assert 0 <= wait_s <= min(30.0, 0.5 * 2.0 ** min(failures - 1, 60))
    assert wait_s == backoff_s(failures, random.Random(seed))


def test_backoff_spreads_over_its_whole_range() -> None:
    """Full jitter means just that: early and late in the range are equally likely."""
    rng = random.Random(0)
    waits = sorted(backoff_s(4, rng) for _ in range(1000))
    assert waits[100] < 0.6
    assert waits[900] > 3.4


@given(retry_after_s=st.floats(0, 10_000), failures=st.integers(1, 20))
def test_a_server_is_never_asked_sooner_than_it_said(retry_after_s: float, failures: int) -> None:
    """Retry-After is waited out whole, with a little jitter on top."""
    wait_s = backoff_s(failures, random.Random(1), retry_after_s=retry_after_s)
    assert retry_after_s <= wait_s <= retry_after_s + 0.5


def test_retry_after_is_read_in_every_form() -> None:
    """Seconds, milliseconds and an HTTP date; a date counts from the response's own clock."""
    wall_s = 1_800_000_000.0
    date = email.utils.formatdate(wall_s + 90, usegmt=True)
    assert parse_retry_after({"retry-after": "7"}, wall_s=0) == 7.0
    assert parse_retry_after({"retry-after": " 1.5 "}, wall_s=0) == 1.5
    assert parse_retry_after({"retry-after-ms": "250", "retry-after": "1"}, wall_s=0) == 0.25
    assert parse_retry_after({"retry-after": date}, wall_s=wall_s) == 90.0
    server = email.utils.formatdate(wall_s + 60, usegmt=True)
    assert parse_retry_after({"retry-after": date, "date": server}, wall_s=0) == 30.0
    assert parse_retry_after({"retry-after": date}, wall_s=wall_s + 500) == 0.0


@given(text=st.text(string.printable + "\u0663", max_size=40))
def test_a_retry_after_without_sense_is_none_and_no_error(text: str) -> None:
    """Whatever a server sends, the answer is a number of seconds or nothing."""
    for name in ("retry-after", "retry-after-ms"):
        seconds = parse_retry_after({name: text}, wall_s=0.0)
        assert seconds is None or seconds >= 0.0


@pytest.mark.parametrize(
    ("status", "kind", "of"),
    [
        *((status, PermanentCallError, "record") for status in (400, 411, 413, 414, 422, 451)),
        *((status, PermanentCallError, "run") for status in (401, 402, 403, 404, 405, 410, 301, 302, 307, 308)),
        *((status, TransientCallError, "record") for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
    ],
)
def test_each_status_belongs_to_record_or_run_and_is_retried_or_not(status: int, kind: type, of: str) -> None:
    """The classification table, status by status."""
    error = judged(status, b"nope")
    assert type(error) is kind
    assert (error.of, error.status, error.where) == (of, status, "https://api.example/v1/chat")


@pytest.mark.parametrize("code", ["insufficient_quota", "invalid_api_key", "model_not_found"])
def test_a_code_tells_what_a_status_does_not(code: str) -> None:
    """A spent account (429), a wrong key or model (400) stop the run; the same words in a message do not."""
    for status in (400, 429):
        error = judged(status, orjson.dumps({"error": {"message": "no", "code": code}}))
        assert isinstance(error, PermanentCallError)
        assert error.of == "run"
        echoed = judged(status, orjson.dumps({"error": {"message": f"the record said {code}", "code": None}}))
        assert echoed.of == "record"


def test_googles_invalid_key_is_recognised() -> None:
    """Gemini answers 400 with the reason in a list of details."""
    error = {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}
    assert judged(400, orjson.dumps([{"error": error}])).of == "run"


@given(body=st.binary(max_size=200), status=st.integers(300, 599))
def test_any_body_can_be_judged(body: bytes, status: int) -> None:
    """No response body, however broken, upsets the classification."""
    error = judged(status, body)
    assert error.status == status
    assert str(error).isprintable() or "\n  " in str(error)


def test_a_message_shows_the_start_of_the_body_and_no_more() -> None:
    """A megabyte of HTML does not end up in a report."""
    message = judged(500, b"<html>" + b"x" * 1_000_000).message
    assert message.startswith("answered 500: <html>xxx")
    assert len(message) < 400


def test_a_transient_error_carries_the_wait_the_server_asked_for() -> None:
    """What `backoff_s` needs travels with the error."""
    assert judged(429, retry_after="3").retry_after_s == 3.0
    assert judged(400, retry_after="3").retry_after_s is None


def test_failures_are_counted_by_cause() -> None:
    """An answer counts under its status, what is no answer under a word."""
    assert find_cause(judged(429), REQUEST, answered=False) == "429"
    assert [find_cause(judged(status), REQUEST, answered=False) for status in (307, 401, 503)] == ["307", "401", "503"]
    assert find_cause(AttemptTimeoutError("late"), REQUEST, answered=False) == "timeout"
    assert find_cause(UnreachableError("gone"), REQUEST, answered=False) == "connection"
    assert find_cause(TransientCallError("cut"), REQUEST, answered=False) == "connection"
    assert find_cause(TransientCallError("no JSON"), REQUEST, answered=True) == "garbage"
    assert find_cause(TransientCallError("too long", status=200), REQUEST, answered=False) == "garbage"


def test_only_what_speaks_of_the_endpoint_is_an_outage() -> None:
    """Connections, timeouts and 5xx count against the endpoint; 429 and what is wrong with a request do not."""
    assert all(is_outage(error) for error in (UnreachableError("x"), TransientCallError("cut"), judged(503)))
    assert not any(is_outage(judged(status)) for status in (400, 401, 429))


def test_only_what_was_surely_not_computed_is_a_refusal() -> None:
    """A cut, late or 5xx answer may have been billed; a 4xx and a missing connection were not."""
    assert all(is_refusal(error) for error in (UnreachableError("x"), judged(429), judged(400), judged(307)))
    assert not any(is_refusal(error) for error in (TransientCallError("cut"), AttemptTimeoutError("late"), judged(500)))
    assert not is_refusal(TransientCallError("too long", status=200))


@given(
    ratio=st.floats(0.0, 2.0),
    events=st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=400),
)
def test_retries_are_bounded_by_the_answers_there_were(ratio: float, events: list[tuple[float, bool]]) -> None:
    """A hundred, one a second, and so many for each usable answer: never more, whatever the order."""
    budget, now, answers, retries = RetryBudget(ratio), 0.0, 0, 0
    for gap_s, is_answer in events:
        now += gap_s
        if is_answer:
            budget.answer()
            answers += 1
        else:
            retries += budget.take(now) == 0.0
    assert retries <= 100 + now + ratio * answers + 1e-6


def test_a_retry_beyond_the_budget_waits() -> None:
    """It is told how long; after that it goes."""
    budget = RetryBudget(0.5)
    assert [budget.take(0.0) for _ in range(100)] == [0.0] * 100
    wait_s = budget.take(0.0)
    assert wait_s == pytest.approx(1.0)
    assert budget.take(wait_s) == 0.0
    budget.answer()
    budget.answer()
    assert budget.take(wait_s) == 0.0
