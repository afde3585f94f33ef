"""What calls do while their endpoint is away."""

import asyncio
import itertools
import pickle
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from answer import Answer

from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Limits
from tidemill.calls.meter import Meter
from tidemill.calls.wire import Request, Response, UnreachableError, Usage
from tidemill.errors import CallError, PermanentCallError, TransientCallError
from tidemill.testing.clock import run_virtual
from tidemill.testing.scripted import STALL, ScriptedTransport, error_response

ENDPOINT = "https://api.example/v1"
REQUEST = Request(f"{ENDPOINT}/chat", {}, b"{}", 100)
GOOD = Response(200, {}, b"12")


class Endpoint(ScriptedTransport):
    """An endpoint that is away for stretches of time, given as (start, stop, what it does then)."""

    def __init__(self, *stretches: tuple[float, float, Any], latency_s: float = 0.1) -> None:
        super().__init__(self._answer, latency_s=latency_s)
        self.stretches = stretches
        self.sent_at: list[float] = []

    def _answer(self, request: Request) -> Any:
        now = asyncio.get_running_loop().time()
        self.sent_at.append(now)
        for start, stop, reply in self.stretches:
            if start <= now < stop:
                return reply() if callable(reply) else reply
        return GOOD


def unreachable() -> UnreachableError:
    return UnreachableError("connection refused", where=ENDPOINT)


def decode(response: Response) -> Answer:
    return Answer(Usage(1, 1))


def on_engine(transport: Endpoint, scene: Callable[[Lane, Meter], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def main() -> None:
        async with Engine(transport, rng=random.Random(0)) as engine:
            await scene(engine.lane("m", limits=Limits(**limits), endpoint=ENDPOINT), engine.meter)
            assert engine.meter.in_flight == transport.in_flight == 0

    run_virtual(main())


async def call_all(lane: Lane, count: int) -> list[Answer | BaseException]:
    return await asyncio.gather(*(lane.call(REQUEST, decode) for _ in range(count)), return_exceptions=True)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("reply", [unreachable, error_response(503), TransientCallError("cut")])
def test_no_record_fails_while_an_endpoint_is_away_for_less_than_outage_s(concurrency: int, reply: Any) -> None:
    """Calls wait, one probe at a time finds the endpoint back, and all of them land."""
    transport = Endpoint((1.0, 250.0, reply))

    async def scene(lane: Lane, meter: Meter) -> None:
        answers = await call_all(lane, 40)
        assert all(isinstance(answer, Answer) for answer in answers)
        during = [time for time in transport.sent_at if 40.0 < time < 250.0]  # by then it is known
        assert len(during) < 150
        assert all(later - sooner > 0.2 for sooner, later in itertools.pairwise(during))
        assert now() < 300.0

    on_engine(transport, scene, concurrency=concurrency, breaker_failures=5)


def test_an_outage_longer_than_the_limit_is_the_runs_failure() -> None:
    """Everyone who waits fails together, at `outage_s`, with an error that names endpoint, cause and way out."""
    transport = Endpoint((1.0, 10_000.0, error_response(503, "overloaded")))

    async def scene(lane: Lane, meter: Meter) -> None:
        answers = await call_all(lane, 100)
        errors = [answer for answer in answers if isinstance(answer, CallError)]
        assert len(errors) == 100 - 11 * 8
        assert all(isinstance(error, TransientCallError) and error.of == "run" for error in errors)
        assert f"{ENDPOINT}: no usable answer for longer than outage_s: answered 503" in str(errors[0])
        assert "overloaded" in str(errors[0])
        assert 61.0 <= now() < 62.0
        with pytest.raises(TransientCallError, match="outage_s"):
            await lane.call(REQUEST, decode)
        assert now() < 62.0, "later calls fail at once"

    on_engine(transport, scene, concurrency=8, outage_s=60)


@pytest.mark.parametrize("concurrency", [1, 2, 4, 16])
@pytest.mark.parametrize("status", [500, 503, 529])
def test_an_endless_outage_fails_no_record_however_few_are_in_flight(status: int, concurrency: int) -> None:
    """It is told as the run's failure soon after `outage_s`, well before a call's own deadline."""
    transport = Endpoint((1.0, 10_000.0, error_response(status, "away")))

    async def scene(lane: Lane, meter: Meter) -> None:
        answers = await call_all(lane, 400)
        errors = [answer for answer in answers if isinstance(answer, CallError)]
        assert errors
        assert {error.of for error in errors} == {"run"}
        assert now() < 400.0

    on_engine(transport, scene, concurrency=concurrency)


def test_an_endpoint_found_back_after_it_was_given_up_serves_again() -> None:
    """A long-lived engine recovers: one call probes when it is time, and closes the breaker."""
    transport = Endpoint((0.0, 100.0, error_response(503)))

    async def scene(lane: Lane, meter: Meter) -> None:
        assert all(isinstance(answer, CallError) for answer in await call_all(lane, 8))
        await asyncio.sleep(100.0)
        assert isinstance(await lane.call(REQUEST, decode), Answer)
        assert all(isinstance(answer, Answer) for answer in await call_all(lane, 20))

    on_engine(transport, scene, outage_s=30)


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_an_endpoint_never_reached_is_the_runs_failure_within_connect_s(concurrency: int) -> None:
    """Seconds, whatever the concurrency; no record is blamed; the error asks for base_url."""
    transport = Endpoint((0.0, 10_000.0, unreachable))

    async def scene(lane: Lane, meter: Meter) -> None:
        answers = await call_all(lane, 100)
        assert all(isinstance(error, PermanentCallError) and error.of == "run" for error in answers)
        assert str(answers[0]).startswith("no connection to api.example for 5 s (connection refused)\n")
        assert "base_url" in str(answers[0])
        assert 5.0 <= now() <= 5.2
        assert meter.attempts < 4 * concurrency + 30

    on_engine(transport, scene, concurrency=concurrency)


def test_an_endpoint_whose_connections_hang_is_given_up_when_the_first_ones_end() -> None:
    """A connect that takes its whole time limit leaves no second try."""
    transport = Endpoint((0.0, 10_000.0, unreachable), latency_s=5.0)

    async def scene(lane: Lane, meter: Meter) -> None:
        answers = await call_all(lane, 10)
        assert all(isinstance(error, CallError) and error.of == "run" for error in answers)
        assert now() == 5.0

    on_engine(transport, scene)


def test_an_endpoint_that_comes_up_within_connect_s_is_waited_for() -> None:
    """A server still starting costs a moment, no record and no run."""
    transport = Endpoint((0.0, 4.0, unreachable))

    async def scene(lane: Lane, meter: Meter) -> None:
        assert all(isinstance(answer, Answer) for answer in await call_all(lane, 20))

    on_engine(transport, scene, concurrency=4)


def test_one_record_that_always_fails_does_not_open_the_breaker() -> None:
    """Five 500s of one call are evidence against that call; the record fails, and others go on."""
    transport = Endpoint((0.0, 10_000.0, error_response(500)))

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(TransientCallError, match="max_attempts=5") as caught:
            await lane.call(REQUEST, decode)
        assert caught.value.of == "record"
        transport.stretches = ()
        before = now()
        await lane.call(REQUEST, decode)
        assert now() == pytest.approx(before + 0.1)

    on_engine(transport, scene, breaker_failures=2)


def test_rate_limits_and_bad_requests_never_open_the_breaker() -> None:
    """429 and 400 show that the endpoint is there."""
    transport = Endpoint((0.0, 200.0, error_response(429)), (200.0, 10_000.0, error_response(400)))

    async def scene(lane: Lane, meter: Meter) -> None:
        answers = await call_all(lane, 50)
        assert all(isinstance(error, PermanentCallError) and error.of == "record" for error in answers)
        assert 200.0 < now() < 235.0
        before = now()
        answers = await call_all(lane, 50)
        assert all(isinstance(error, PermanentCallError) and error.of == "record" for error in answers)
        assert now() < before + 10.0

    on_engine(transport, scene, breaker_failures=1)


def test_the_wait_for_an_open_breaker_is_charged_to_no_deadline() -> None:
    """A call with a 10 s deadline outlives a minute's outage."""
    transport = Endpoint((1.0, 61.0, unreachable))

    async def scene(lane: Lane, meter: Meter) -> None:
        answers = await call_all(lane, 30)
        assert all(isinstance(answer, Answer) for answer in answers)

    on_engine(transport, scene, concurrency=2, deadline_s=10, attempt_timeout_s=5)


def test_a_missing_connection_is_charged_to_no_record() -> None:
    """Nothing was sent: such attempts do not count towards `max_attempts`, breaker or not."""
    transport = Endpoint((1.0, 10.0, unreachable))

    async def scene(lane: Lane, meter: Meter) -> None:
        assert all(isinstance(answer, Answer) for answer in await call_all(lane, 30))
        assert meter.failures["connection"] > 3

    on_engine(transport, scene, concurrency=1, max_attempts=1, breaker_failures=1000)


def test_a_call_whose_turn_comes_while_the_breaker_is_open_is_not_sent() -> None:
    """Waiting for the quota and waiting for the endpoint are both waited out; only the probe goes."""
    transport = Endpoint((0.0, 20.0, error_response(503)))

    async def scene(lane: Lane, meter: Meter) -> None:
        sent = [Request(ENDPOINT, {}, b"%d" % number, 1) for number in range(8)]
        answers = await asyncio.gather(*(lane.call(one, decode) for one in sent))
        assert len(answers) == 8
        before = [time for time in transport.sent_at if time < 20.0]
        assert len(before) < 15
        assert all(later - sooner > 0.2 for sooner, later in itertools.pairwise(before))

    on_engine(transport, scene, breaker_failures=1, requests_per_minute=60)


def test_a_cancelled_probe_is_sent_by_the_next_in_line() -> None:
    """Cancelling the call that probes does not leave the others waiting for it."""
    stalled = asyncio.Event()

    def stall_once() -> Any:
        if stalled.is_set():
            return GOOD
        stalled.set()
        return STALL

    transport = Endpoint((0.0, 3.0, error_response(503)), (3.0, 10_000.0, stall_once))

    async def scene(lane: Lane, meter: Meter) -> None:
        sent = [Request(ENDPOINT, {}, b"%d" % number, 1) for number in range(10)]
        calls = [asyncio.create_task(lane.call(one, decode)) for one in sent]
        await stalled.wait()
        probing = sent.index(transport.requests[-1])
        calls.pop(probing).cancel()
        before = now()
        await asyncio.gather(*calls)
        assert now() == pytest.approx(before + 0.2)

    on_engine(transport, scene, breaker_failures=1)


def test_calls_cancelled_while_the_breaker_is_open_leave_nothing_behind() -> None:
    """Neither slot nor probe is lost with them."""
    transport = Endpoint((0.0, 20.0, error_response(503)))

    async def scene(lane: Lane, meter: Meter) -> None:
        calls = [asyncio.create_task(lane.call(REQUEST, decode)) for _ in range(8)]
        await asyncio.sleep(5.0)
        for call in calls[:6]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, Answer) for answer in answers] == [False] * 6 + [True] * 2
        assert all(isinstance(answer, Answer) for answer in await call_all(lane, 20))

    on_engine(transport, scene, concurrency=4)


def test_lanes_of_one_endpoint_share_its_breaker() -> None:
    """What one model's calls find out holds for the other's; another endpoint is not touched."""

    async def main() -> None:
        transport = Endpoint((0.0, 30.0, error_response(503)))
        async with Engine(transport, rng=random.Random(0)) as engine:
            limits = Limits(breaker_failures=1)
            first = engine.lane("first", limits=limits, endpoint=ENDPOINT)
            second = engine.lane("second", limits=limits, endpoint=ENDPOINT + "/")
            elsewhere = engine.lane("third", limits=limits, endpoint="https://other.example")
            waiting = asyncio.create_task(first.call(REQUEST, decode))
            await asyncio.sleep(0.2)
            assert len(transport.sent_at) == 1
            also_waiting = asyncio.create_task(second.call(REQUEST, decode))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(transport.sent_at) == 1
            other = asyncio.create_task(elsewhere.call(REQUEST, decode))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(transport.sent_at) == 2
            await asyncio.gather(waiting, also_waiting, other)

    run_virtual(main())


def test_errors_of_the_engine_pickle_whole() -> None:
    """A failure crosses a process boundary with everything a caller acts on."""
    transport = Endpoint((0.0, 10_000.0, error_response(503, headers={"retry-after": "1"})))

    async def scene(lane: Lane, meter: Meter) -> None:
        for error in await call_all(lane, 20):
            assert isinstance(error, CallError)
            copy = pickle.loads(pickle.dumps(error))
            assert type(copy) is type(error)
            assert vars(copy) == vars(error)
            assert str(copy) == str(error)

    on_engine(transport, scene, outage_s=5)


def test_an_endpoint_that_fails_most_calls_gets_little_more_load_for_it() -> None:
    """Nine of ten attempts fail, so that the breaker never opens for good: retries stay within the answers' share."""
    sent = 0

    def reply() -> Any:
        nonlocal sent
        sent += 1
        return GOOD if sent % 10 == 0 else error_response(500)

    async def scene(lane: Lane, meter: Meter) -> None:
        calls = [asyncio.create_task(lane.call(REQUEST, decode)) for _ in range(2_000)]
        await asyncio.sleep(60.0)
        retries = meter.attempts - meter.calls
        answered = meter.attempts - sum(meter.failures.values())
        assert retries <= 100 + 60 + 0.5 * answered + 64
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    on_engine(Endpoint((0.0, 10_000.0, reply)), scene, concurrency=64, breaker_failures=1_000, max_attempts=50)
