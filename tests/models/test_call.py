"""The `call` step: any function that asks the outside, inside the same limits, retries and ledger as a model."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import functools
import random
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import msgspec.structs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import tidemill as tm
from tidemill.calls.engine import Engine
from tidemill.calls.limits import Limits
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import AttemptTimeoutError, Request
from tidemill.jobs.window.opening import count_slots
from tidemill.models.steps.call import Call, Caller, Value
from tidemill.models.steps.calling import KEY_HEADER
from tidemill.resources.threads import Threads
from tidemill.testing import ScriptedTransport, run_virtual


def run(fn: Callable[..., Any], record: Any = None, **fields: Any) -> Any:
    """What one `call` step makes of a record."""
    return tm.Pipeline([Call(fn=fn, **fields)])({"id": 1, "text": "shoes"} if record is None else record)


async def call_in(meter: Meter | None, records: list[dict[str, Any]], fn: Callable[..., Any], **fields: Any) -> Any:
    """The results of a `call` step on an engine of the running loop, errors among them."""
    node = Call(fn=fn, **{"limits": Limits(connect_s=1.0), **fields})
    async with Engine(ScriptedTransport([]), rng=random.Random(0), meter=meter) as engine:
        lane = engine.lane("call", limits=node.lane_limits, endpoint="call://call")
        caller = Caller(node, "call", lambda: lane.limits.slots)

        async def ask(number: int, request: Request, send: Send | None = None, decode: Any = None) -> Any:
            request = msgspec.structs.replace(request, headers={KEY_HEADER: f"key {number}"})
            return await lane.call(request, Value.from_response, send=send)

        try:
            return await asyncio.gather(*(caller.run(each, ask) for each in records), return_exceptions=True)
        finally:
            caller.close()


async def greet(record: dict[str, Any]) -> str:
    return f"hello {record['text']}"


def test_what_the_function_gives_stands_in_its_column() -> None:
    """A coroutine function on the loop, a plain one in a thread, one that gives a coroutine."""
    assert run(greet, into="greeting") == {"id": 1, "text": "shoes", "greeting": "hello shoes"}
    assert run(lambda record: threading.current_thread().name)["result"].startswith("tidemill-call")
    assert run(functools.partial(lambda greeter, record: greeter(record), greet))["result"] == "hello shoes"


@pytest.mark.parametrize(
    ("error", "attempts"), [(ValueError("no"), 1), (ConnectionResetError("cut"), 2), (TimeoutError("late"), 2)]
)
async def test_what_a_function_raises_is_no_unknown_bill(error: Exception, attempts: int) -> None:
    """Tokens are none of its business, whatever becomes of an attempt."""

    def refuse(record: dict[str, Any]) -> None:
        raise error

    meter = Meter()
    [raised] = await call_in(meter, [{}], refuse, limits=Limits(max_attempts=2))
    assert isinstance(raised, Exception)
    assert (meter.attempts, meter.unknown_usage) == (attempts, 0)


@pytest.mark.parametrize(
    ("fn", "limits", "slots"),
    [
        (len, {}, 32),
        (len, {"concurrency": "auto", "requests_per_minute": 9}, 32),
        (len, {"concurrency": 64}, 64),
        (len, {"concurrency": {"max": 100}}, 100),
        (greet, {}, 512),
    ],
)
def test_auto_is_32_threads_at_most(fn: Any, limits: Any, slots: int) -> None:
    """Of a plain function, which takes one for each call under way; a coroutine function takes none."""
    node = Call(fn=fn, limits=limits)
    assert node.lane_limits.slots == count_slots([node]) == slots
    assert node.lane_limits.requests_per_minute == node.limits.requests_per_minute


def test_it_gets_a_copy_of_the_record_or_of_the_columns_named() -> None:
    def take(record: dict[str, Any]) -> list[str]:
        return [record.popitem()[0] for _ in range(len(record))]

    record = {"id": 1, "text": "shoes", "more": {2: 3}}
    assert run(take, record, columns=["text", "id"])["result"] == ["id", "text"]
    assert record == {"id": 1, "text": "shoes", "more": {2: 3}}
    with pytest.raises(tm.DataError, match="expected a column `txet`"):
        run(take, record, columns=["txet"])


def test_a_parameter_called_key_gets_the_call_s_key() -> None:
    """Whoever has none is not given one."""

    def keyed(record: dict[str, Any], *, key: str) -> str:
        return key

    first = run(keyed)["result"]
    assert len(first) == 32
    assert run(keyed)["result"] == first
    assert run(keyed, {"id": 2})["result"] != first
    assert run(len)["result"] == 2


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


class Hit(BaseModel):
    at: datetime.date


def test_what_has_a_json_form_is_kept_as_that() -> None:
    """The record has what a resumed run reads back."""
    value = {
        "tuple": (1, 2),
        "date": datetime.date(2026, 1, 2),
        "uuid": UUID(int=0),
        "enum": Color.RED,
        "point": Point(1),
        "model": Hit(at=datetime.date(2026, 1, 2)),
        "none": None,
    }
    assert run(lambda record: value)["result"] == {
        "tuple": [1, 2],
        "date": "2026-01-02",
        "uuid": "00000000-0000-0000-0000-000000000000",
        "enum": "red",
        "point": {"x": 1},
        "model": {"at": "2026-01-02"},
        "none": None,
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, {"b": {2, 3}}]}, r"\$\.a\[1\]\.b is a set"),
        (object(), r"\$ is an object"),
        ([b"bytes"], r"\$\[0\] is a bytes"),
        ({"a": float("nan"), "b": None}, r"\$\.a is nan"),
        ([1.0, [float("-inf")]], r"\$\[1\]\[0\] is -inf"),
        ({"a": 2**64}, r"\$\.a is 18446744073709551616"),
        ({"a": {1: 2}}, r"\$\.a is a dict with the key 1"),
    ],
)
def test_what_json_cannot_hold_fails_the_record_with_its_place(value: Any, told: str) -> None:
    with pytest.raises(tm.DataError, match=f"the function's result is not JSON: {told}"):
        run(lambda record: value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_any_json_comes_back_as_it_was(value: Any) -> None:
    """Through the call, and through the ledger's row."""

    async def give(record: dict[str, Any]) -> Any:
        return value

    async def main() -> Any:
        return await call_in(None, [{"id": 1}], give)

    [found] = run_virtual(main())
    assert found["result"] == value
    assert Value.from_row(Value(value).to_row()) == Value(value)


def test_a_record_that_is_no_json_is_told_to_name_columns() -> None:
    """Bytes stand for themselves by a digest; what else JSON cannot hold would not tell a call from another."""
    assert run(lambda record: 1, {"image": b"\xff", "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)})
    with pytest.raises(tm.DataError, match=r"by its record as JSON, and \$\.socket is an object\n  name the columns"):
        run(lambda record: 1, {"id": 1, "socket": object()})
    assert run(lambda record: 1, {"id": 1, "socket": object()}, columns=["id"])["result"] == 1


class FlakyError(Exception):
    pass


@pytest.mark.parametrize(
    "error", [ConnectionResetError("cut"), TimeoutError(), tm.TransientCallError("busy"), FlakyError()]
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """Connections, timeouts, what says so itself and what the step names; a call has several attempts."""
    tries = iter(range(3))

    async def attempt(record: dict[str, Any]) -> str:
        if next(tries) < 2:
            raise error
        return "good"

    async def main() -> None:
        meter = Meter()
        [found] = await call_in(meter, [{"id": 1}], attempt, retry_on=(FlakyError,))
        assert found["result"] == "good"
        assert (meter.calls, meter.attempts, meter.failed) == (1, 3, 0)

    run_virtual(main())


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (tm.TransientCallError("api says 503"), "function"),
        (tm.TransientCallError("busy", status=503), "503"),
        (tm.PermanentCallError("gone"), "function"),
        (ConnectionResetError("cut"), "function"),
    ],
)
def test_a_failed_attempt_is_counted_as_the_function_s(error: Exception, counted: str) -> None:
    """Or as the status that it says; and nobody may have billed it."""

    async def fail(record: dict[str, Any]) -> None:
        raise error

    async def main() -> None:
        meter = Meter()
        [failure] = await call_in(meter, [{"id": 1}], fail, limits=Limits(max_attempts=2))
        assert isinstance(failure, tm.CallError)
        assert (set(meter.failures), meter.unknown_usage) == ({counted}, 0)

    run_virtual(main())


def test_what_will_not_pass_fails_the_record_as_it_is() -> None:
    """At once, with the function's own error."""
    for error in (ValueError("no such id"), tm.PermanentCallError("gone"), FlakyError("not named")):

        def fail(record: dict[str, Any], error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error), match=str(error)):
            run(fail)


async def sleep(record: dict[str, Any]) -> None:
    await asyncio.sleep(60)


def test_an_attempt_that_takes_too_long_is_given_up() -> None:
    async def main() -> None:
        meter = Meter()
        limits = Limits(attempt_timeout_s=2, max_attempts=2, connect_s=1)
        [found] = await call_in(meter, [{}], sleep, limits=limits)
        assert isinstance(found, AttemptTimeoutError)
        assert "gave nothing within 2 s" in found.message
        assert meter.failures == {"timeout": 2}

    run_virtual(main())


def test_no_more_are_under_way_than_may_be() -> None:
    """And each minute no more begin."""
    now = most = 0
    begun: list[float] = []

    async def work(record: dict[str, Any]) -> None:
        nonlocal now, most
        begun.append(asyncio.get_running_loop().time())
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1

    async def main() -> None:
        limits = Limits(concurrency=3, requests_per_minute=60, connect_s=1)
        assert await call_in(None, [{}] * 90, work, limits=limits) == [{"result": None}] * 90
        assert most <= 3
        assert all(sum(start <= each <= start + 60 for each in begun) <= 60 for start in begun)

    run_virtual(main())


async def test_plain_functions_wait_for_a_thread() -> None:
    """There are as many threads as calls may be under way."""
    names: set[str] = set()
    both = threading.Barrier(2, timeout=10)

    def work(record: dict[str, Any]) -> int:
        names.add(str(threading.get_ident()))
        both.wait()
        return 1

    found = await call_in(None, [{}] * 8, work, limits=Limits(concurrency=2))
    assert found == [{"result": 1}] * 8
    assert len(names) == 2


async def test_a_function_that_overran_its_time_keeps_its_thread() -> None:
    """It cannot be ended: the next attempt waits until it returns, so no more are at work than may be."""
    threads = Threads("test", lambda: 1)
    go, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(10)

    first = asyncio.ensure_future(threads.run(work))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second, third = asyncio.ensure_future(threads.run(int)), asyncio.ensure_future(threads.run(str))
    await asyncio.sleep(0)
    second.cancel()
    assert not third.done()
    go.set()
    assert await third == ""
    threads.close()


async def test_more_threads_may_be_allowed_while_they_work() -> None:
    """As when the limits of a live run are tuned."""
    most = 1
    threads = Threads("test", lambda: most)
    both = threading.Barrier(2, timeout=10)
    first = asyncio.ensure_future(threads.run(both.wait))
    await asyncio.sleep(0)
    most = 2
    assert sorted(await asyncio.gather(first, threads.run(both.wait))) == [0, 1]
    threads.close()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"fn": 3}, "expected a function or its import path"),
        ({"fn": len, "columns": []}, "columns"),
        (
            {"fn": len, "limits": {"concurency": 3}},
            "unknown key `limits.concurency`; did you mean `limits.concurrency`?",
        ),
        (
            {"fn": len, "retry_on": ["OSErorr"]},
            "expected an exception class or its import path.* did you mean `OSError`",
        ),
        ({"fn": len, "retry_on": ["json:loads"]}, "expected an exception class"),
    ],
)
def test_what_cannot_be_called_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        Call(**fields)


def test_limits_are_no_part_of_what_a_step_is() -> None:
    """They and what is tried again may change between two runs of one run folder; function, column and columns not."""
    first = tm.Pipeline([Call(fn=greet, limits=Limits(concurrency=2), retry_on=("json:JSONDecodeError",))])
    assert first.fingerprint == tm.Pipeline([Call(fn=greet)]).fingerprint
    others: list[dict[str, Any]] = [{"fn": len}, {"fn": greet, "into": "other"}, {"fn": greet, "columns": ["id"]}]
    assert len({tm.Pipeline([Call(**each)]).fingerprint for each in others} | {first.fingerprint}) == 4


def test_digits_durations_and_paths_are_kept_as_texts() -> None:
    """What a database gives: nothing of a decimal is lost."""

    def look(record: dict[str, Any]) -> Any:
        return {"price": Decimal("0.10"), "took": datetime.timedelta(seconds=90), "file": PurePosixPath("a/b")}

    assert run(look)["result"] == {"price": "0.10", "took": "PT1M30S", "file": "a/b"}
