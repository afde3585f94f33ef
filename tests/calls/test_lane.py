"""How a call goes through the engine when nothing, or only the reply, is wrong."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import msgspec.structs
import pytest
from answer import Answer

from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Limits, Price
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import LaneOptions, LaneStopped
from tidemill.calls.wire import Request, Response, Tally, Usage
from tidemill.errors import CallError, ConfigError, PermanentCallError, ResourceError, TransientCallError
from tidemill.testing.clock import run_virtual
from tidemill.testing.scripted import STALL, ScriptedTransport, error_response

ENDPOINT = "https://api.example/v1"
GOOD = Response(200, {}, b"12")


def request(text: str = "hello") -> Request:
    return Request(f"{ENDPOINT}/chat/completions", {"authorization": "Bearer canary-key"}, text.encode(), 100)


def decode(response: Response) -> Answer:
    if not response.body.isdigit():
        raise TransientCallError(f"not a number: {response.body.decode()}")
    return Answer(Usage(10, int(response.body)), response.body.decode())


Scene = Callable[[Lane, Meter], Coroutine[Any, Any, None]]


class FarSide(ScriptedTransport):
    """A scripted transport that stalls for ever once told to."""

    def __init__(self, replies: Iterable[Any] | Callable[[Request], Any], *, latency_s: float = 0.0) -> None:
        super().__init__(self._answer, latency_s=latency_s)
        self.stalls = False
        rest = iter(()) if callable(replies) else iter(replies)
        self._reply = replies if callable(replies) else lambda _: next(rest)

    def _answer(self, request: Request) -> Any:
        return STALL if self.stalls else self._reply(request)


def on_engine(transport: FarSide, scene: Scene, **limits: Any) -> None:
    """Run `scene` on a lane in virtual time; nothing may be in flight afterwards."""

    async def main() -> None:
        async with Engine(transport, rng=random.Random(0)) as engine:
            await scene(engine.lane("m", limits=Limits(**limits), endpoint=ENDPOINT, price=Price(1, 2)), engine.meter)
            assert engine.meter.in_flight == transport.in_flight == 0
        assert transport.is_closed

    run_virtual(main())


def on_lane(transport: FarSide, scene: Scene, **limits: Any) -> None:
    """As `on_engine`, and afterwards as many calls as the limit can be in flight: no slot was lost or made."""

    async def checked(lane: Lane, meter: Meter) -> None:
        await scene(lane, meter)
        transport.stalls = True
        concurrency = lane.limit
        calls = [asyncio.create_task(lane.call(request("probe"), decode)) for _ in range(concurrency + 1)]
        await asyncio.sleep(0.01)
        assert transport.in_flight == concurrency
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    on_engine(transport, checked, **limits)


def test_a_call_gives_the_decoded_value_and_is_counted() -> None:
    """One attempt, its tokens, its cost, its latency."""

    async def scene(lane: Lane, meter: Meter) -> None:
        answer = await lane.call(request(), decode)
        assert answer.text == "12"
        assert (meter.calls, meter.attempts, meter.failed) == (1, 1, 0)
        assert (meter.input_tokens, meter.output_tokens, meter.usd) == (10, 12, 34e-6)
        assert meter.latency_s(0.5) == pytest.approx(1.5, rel=0.13)

    on_lane(FarSide(lambda _: GOOD, latency_s=1.5), scene)


def test_an_answer_counts_under_the_label_of_its_request_too() -> None:
    """Once for the call and not for its attempts, with its cost and what was seen in it."""

    async def scene(lane: Lane, meter: Meter) -> None:
        tally = Tally("label/re-ask", lambda answer: ("twelve",) if answer.text == "12" else ())
        await lane.call(msgspec.structs.replace(request(), tally=tally), decode)
        await lane.call(msgspec.structs.replace(request(), tally=Tally("label/re-ask")), decode)
        await lane.call(request(), decode)
        share = meter.shares["label/re-ask"]
        assert (meter.calls, share.calls, share.input_tokens, share.output_tokens) == (3, 2, 20, 24)
        assert (share.usd, dict(share.counts)) == (68e-6, {"twelve": 1})

    on_lane(FarSide([error_response(500), GOOD, GOOD, GOOD]), scene)


def test_a_lane_may_have_to_find_its_address() -> None:
    """Asked for by a call that is to be sent, which is charged no time for it; stopped, nothing is looked for."""
    transport = FarSide(lambda _: GOOD)
    asked: list[float] = []

    async def locate() -> str:
        asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(3_600)
        return "http://found:1/v1"

    async def main() -> None:
        async with Engine(transport, rng=random.Random(0)) as engine:
            lane = engine.lane("m", limits=Limits(deadline_s=5), endpoint="local://m", options=LaneOptions(locate))
            assert asked == []
            relative = msgspec.structs.replace(request(), url="/chat/completions")
            assert (await lane.call(relative, decode)).text == "12"
            assert [sent.url for sent in transport.requests] == ["http://found:1/v1/chat/completions"]
            assert (engine.meter.latency_s(0.5) or 0.0) < 0.001
            lane.stop()
            with pytest.raises(LaneStopped):
                await lane.call(relative, decode)
            assert len(asked) == 1

    run_virtual(main())


def test_a_lane_that_finds_no_address_says_why() -> None:
    """To each call, and each slot is given back."""
    transport = FarSide(lambda _: GOOD)

    async def locate() -> str:
        raise ResourceError("no server starts here")

    async def main() -> None:
        async with Engine(transport, rng=random.Random(0)) as engine:
            lane = engine.lane("m", limits=Limits(concurrency=1), endpoint="local://m", options=LaneOptions(locate))
            for _ in range(3):
                with pytest.raises(ResourceError, match="no server starts here"):
                    await lane.call(request(), decode)
            assert (transport.requests, engine.meter.attempts) == ([], 0)

    run_virtual(main())


def test_slots_are_given_in_order_and_never_exceeded() -> None:
    """Calls beyond `concurrency` wait their turn, first in first out."""
    transport = FarSide(lambda _: GOOD, latency_s=1.0)

    async def scene(lane: Lane, meter: Meter) -> None:
        await asyncio.gather(*(lane.call(request(str(number)), decode) for number in range(50)))
        assert [int(sent.body) for sent in transport.requests] == list(range(50))
        assert transport.max_in_flight == meter.max_in_flight == 7

    on_lane(transport, scene, concurrency=7)


def test_the_slot_is_held_until_commit_returns() -> None:
    """Never more than `concurrency` calls are sent and not yet committed, however slow the disk."""
    transport = FarSide(lambda _: GOOD, latency_s=0.1)
    uncommitted: list[int] = []
    committed: list[str] = []

    async def scene(lane: Lane, meter: Meter) -> None:
        async def commit(answer: Answer, attempts: int) -> None:
            uncommitted.append(len(transport.requests) - len(committed))
            await asyncio.sleep(5.0)
            committed.append(answer.text)

        await asyncio.gather(*(lane.call(request(), decode, commit) for _ in range(12)))
        assert (max(uncommitted), len(committed), meter.max_in_flight) == (3, 12, 3)

    on_lane(transport, scene, concurrency=3)


def test_commit_is_told_how_many_attempts_it_took() -> None:
    """What the ledger stores beside a reply."""
    transport = FarSide([error_response(500), Response(200, {}, b"no"), GOOD])
    committed: list[tuple[str, int]] = []

    async def scene(lane: Lane, meter: Meter) -> None:
        async def commit(answer: Answer, attempts: int) -> None:
            committed.append((answer.text, attempts))

        await lane.call(request(), decode, commit)
        assert committed == [("12", 3)]
        assert meter.failures == {"500": 1, "garbage": 1}
        assert (meter.calls, meter.attempts, meter.unknown_usage) == (1, 3, 2)

    on_lane(transport, scene)


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("a bug")])
def test_an_error_of_commit_or_decode_passes_and_frees_the_slot(error: Exception) -> None:
    """The engine retries the far side, not the caller's own code."""
    transport = FarSide(lambda _: GOOD)

    async def scene(lane: Lane, meter: Meter) -> None:
        async def commit(answer: Answer, attempts: int) -> None:
            raise error

        def broken(response: Response) -> Answer:
            raise error

        with pytest.raises(type(error), match=str(error)):
            await lane.call(request(), decode, commit)
        with pytest.raises(type(error), match=str(error)):
            await lane.call(request(), broken)
        assert len(transport.requests) == 2

    on_lane(transport, scene, concurrency=1)


async def cancel_after(call: Awaitable[Any], delay_s: float) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(delay_s)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_a_call_cancelled_in_flight_frees_its_slot() -> None:
    """The transport sees the cancellation; the next in line goes."""
    transport = FarSide([STALL, GOOD])

    async def scene(lane: Lane, meter: Meter) -> None:
        async def follow() -> Answer:
            await asyncio.sleep(0.5)
            return await lane.call(request("second"), decode)

        second = asyncio.create_task(follow())
        await cancel_after(lane.call(request("first"), decode), 1.0)
        assert (await second).text == "12"

    on_lane(transport, scene, concurrency=1)


def test_a_call_cancelled_while_it_waits_for_a_slot_leaves_the_line() -> None:
    """Whoever is cancelled is skipped, and the order of the others stays."""
    transport = FarSide(lambda _: GOOD, latency_s=1.0)

    async def scene(lane: Lane, meter: Meter) -> None:
        calls = [asyncio.create_task(lane.call(request(str(number)), decode)) for number in range(6)]
        await asyncio.sleep(0.5)
        for number in (1, 3, 5):
            calls[number].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert [sent.body for sent in transport.requests] == [b"0", b"2", b"4"]

    on_lane(transport, scene, concurrency=1)


def test_what_calls_waited_that_were_never_sent_is_not_counted() -> None:
    """Those that a stop met in line waited for nothing; the mean of a few that were sent would be theirs as well."""
    transport = FarSide(lambda _: GOOD, latency_s=1.0)

    async def scene(lane: Lane, meter: Meter) -> None:
        calls = [asyncio.create_task(lane.call(request(str(number)), decode)) for number in range(9)]
        await asyncio.sleep(1.5)
        lane.stop()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in ended] == [Answer] * 2 + [LaneStopped] * 7
        assert (meter.calls, dict(meter.waited_us)) == (2, {"slots": 1_000_000})

    on_engine(transport, scene, concurrency=1)


def test_a_slot_handed_to_a_call_that_is_cancelled_in_the_same_moment_is_passed_on() -> None:
    """The race between a hand-over and a cancellation loses no slot."""
    transport = FarSide(lambda _: GOOD, latency_s=1.0)

    async def scene(lane: Lane, meter: Meter) -> None:
        async def commit(answer: Answer, attempts: int) -> None:
            asyncio.get_running_loop().call_soon(waiting.cancel)

        first = asyncio.create_task(lane.call(request("first"), decode, commit))
        waiting = asyncio.create_task(lane.call(request("cancelled"), decode))
        third = asyncio.create_task(lane.call(request("third"), decode))
        await asyncio.gather(first, waiting, third, return_exceptions=True)
        assert [sent.body for sent in transport.requests] == [b"first", b"third"]
        assert waiting.cancelled()

    on_lane(transport, scene, concurrency=1)


def test_a_call_cancelled_during_back_off_frees_its_slot() -> None:
    """Back-off is a wait like any other."""
    transport = FarSide([error_response(500, headers={"retry-after": "60"})])

    async def scene(lane: Lane, meter: Meter) -> None:
        await cancel_after(lane.call(request(), decode), 30.0)
        assert meter.attempts == 1

    on_lane(transport, scene, concurrency=1)


def test_a_call_cancelled_during_commit_frees_its_slot() -> None:
    """The value is then not returned; whether it is durable, the ledger knows."""
    begun: list[str] = []

    async def scene(lane: Lane, meter: Meter) -> None:
        async def commit(answer: Answer, attempts: int) -> None:
            begun.append(answer.text)
            await asyncio.sleep(60.0)

        await cancel_after(lane.call(request(), decode, commit), 1.0)
        assert begun == ["12"]
        assert (meter.in_flight, lane.sending) == (0, 0)

    on_lane(FarSide(lambda _: GOOD), scene, concurrency=2)


def test_waiting_for_the_first_send_is_charged_to_no_deadline() -> None:
    """A call may wait for its slot much longer than its deadline."""

    async def scene(lane: Lane, meter: Meter) -> None:
        await asyncio.gather(*(lane.call(request(), decode) for _ in range(100)))
        assert meter.failed == 0
        assert asyncio.get_running_loop().time() == pytest.approx(900.0)

    on_lane(FarSide(lambda _: GOOD, latency_s=9.0), scene, concurrency=1, deadline_s=10, attempt_timeout_s=10)


def test_the_deadline_covers_attempts_and_back_off() -> None:
    """From its first send a call takes at most `deadline_s`; the last attempt gets what is left of it."""
    transport = FarSide([error_response(503), *[STALL] * 10])

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(TransientCallError, match="deadline_s=100"):
            await lane.call(request(), decode)
        assert 60.0 < asyncio.get_running_loop().time() <= 100.0
        assert meter.attempts <= 4

    on_lane(transport, scene, deadline_s=100, attempt_timeout_s=40, max_attempts=50, breaker_failures=50)


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    """There is no point in waiting for an attempt that cannot be made."""
    transport = FarSide([error_response(429, headers={"retry-after": "700"})])

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(TransientCallError, match=r"answered 429.*deadline_s=600") as caught:
            await lane.call(request(), decode)
        assert (caught.value.retry_after_s, caught.value.attempts, caught.value.of) == (700.0, 1, "record")
        assert asyncio.get_running_loop().time() == 0.0

    on_engine(transport, scene, outage_s=1000)


def test_a_retry_after_beyond_the_outage_is_the_runs_failure() -> None:
    """Who refuses everything for so long fails no record: the run stops, and goes on later."""
    transport = FarSide([error_response(429, headers={"retry-after": "700"})])

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(TransientCallError, match=r"answered 429.*\n.*longer than outage_s") as caught:
            await lane.call(request(), decode)
        assert (caught.value.attempts, caught.value.of) == (1, "run")

    on_engine(transport, scene)


def test_retry_after_is_waited_out() -> None:
    """The second attempt comes neither before the server asked nor much after."""
    transport = FarSide([error_response(429, headers={"retry-after": "20"}), GOOD])

    async def scene(lane: Lane, meter: Meter) -> None:
        await lane.call(request(), decode)
        assert 20.0 <= asyncio.get_running_loop().time() <= 20.5
        assert meter.failures == {"429": 1}

    on_engine(transport, scene)


def test_attempts_are_bounded_and_counted() -> None:
    """After `max_attempts` the record has failed; the error says so."""
    transport = FarSide(lambda _: error_response(500))

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(
            TransientCallError, match=r"scripted error.*\(attempt 3, the last by max_attempts=3\)"
        ) as caught:
            await lane.call(request(), decode)
        assert (caught.value.attempts, caught.value.status, caught.value.of) == (3, 500, "record")
        assert (meter.failed, meter.attempts, meter.failures) == (1, 3, {"500": 3})

    on_lane(transport, scene, max_attempts=3)


def test_a_429_is_waited_out_however_often_it_comes() -> None:
    """An endpoint that says "not so fast" for a quarter of a minute costs no call its attempts."""

    def reply(_: Request) -> Response:
        return GOOD if asyncio.get_running_loop().time() >= 15.0 else error_response(429)

    async def scene(lane: Lane, meter: Meter) -> None:
        await asyncio.gather(*(lane.call(request(str(number)), decode) for number in range(200)))
        assert asyncio.get_running_loop().time() < 120.0
        assert meter.failed == 0
        assert meter.attempts < 200 * 10

    on_engine(FarSide(reply), scene, max_attempts=2)


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 60}, {"concurrency": 1}], ids=["auto", "paced", "one"])
@pytest.mark.parametrize(("status", "good"), [(429, 20), (500, 4), (503, 4)])
def test_no_call_is_under_way_for_longer_than_its_deadline(status: int, good: int, limits: dict[str, Any]) -> None:
    """Whatever it waits for in between, each `good`-th attempt answered: pace, retry budget, its turn, an answer."""
    number = itertools.count()

    def reply(_: Request) -> Response:
        return GOOD if next(number) % good == good - 1 else error_response(status)

    transport = FarSide(reply)

    async def scene(lane: Lane, meter: Meter) -> None:
        began: dict[int, float] = {}

        async def call(index: int) -> float:
            async def send(sent: Request, timeout_s: float) -> Response:
                began.setdefault(index, asyncio.get_running_loop().time())
                return await transport.send(sent, timeout_s)

            with contextlib.suppress(CallError):
                await lane.call(request(str(index)), decode, send=send)
            return asyncio.get_running_loop().time() - began.get(index, float("inf"))

        took = await asyncio.gather(*(call(index) for index in range(120)))
        assert max(took) <= 20.0 + 1e-6
        assert meter.failed > 0 or limits == {"concurrency": 1}, "that deadline was met by some"

    on_engine(transport, scene, deadline_s=20, attempt_timeout_s=5, max_attempts=50, retry_ratio=0, **limits)


def test_one_attempt_is_one_attempt_where_others_are_answered() -> None:
    """A call that failed waits to hear whether the endpoint works, and is not sent again if it does."""
    transport = FarSide(lambda sent: error_response(500) if b"bad" in sent.body else GOOD)

    async def scene(lane: Lane, meter: Meter) -> None:
        calls = [lane.call(request("bad" if number % 20 == 0 else str(number)), decode) for number in range(100)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        failed = [each for each in answers if isinstance(each, CallError)]
        assert [error.attempts for error in failed] == [1] * 5
        assert all(error.of == "record" for error in failed)
        assert meter.attempts == 100

    on_engine(transport, scene, max_attempts=1, concurrency=8)


def test_a_429_without_end_is_the_runs_failure() -> None:
    """Asked now and then; no record is to blame for it."""
    transport = FarSide(lambda _: error_response(429))

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(TransientCallError, match=r"refuses every call for longer than outage_s") as caught:
            await lane.call(request(), decode)
        assert (caught.value.status, caught.value.of) == (429, "run")
        assert 300.0 < asyncio.get_running_loop().time() < 335.0
        assert 10 < meter.attempts < 100

    on_engine(transport, scene)


@pytest.mark.parametrize(("status", "of"), [(400, "record"), (422, "record"), (401, "run"), (403, "run"), (404, "run")])
def test_a_permanent_failure_ends_the_call_at_once(status: int, of: str) -> None:
    """No second attempt for what would fail again; the caller learns whether record or run failed."""
    transport = FarSide([error_response(status)])

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(PermanentCallError, match=f"{ENDPOINT}/chat/completions: answered {status}") as caught:
            await lane.call(request(), decode)
        assert (caught.value.of, caught.value.attempts) == (of, 1)

    on_lane(transport, scene)


def test_an_error_inside_a_200_is_what_decode_says_it_is() -> None:
    """`decode` may end the call, too."""

    def refuse(response: Response) -> Answer:
        raise PermanentCallError("the model refused", status=400)

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(PermanentCallError, match="the model refused"):
            await lane.call(request(), refuse)
        assert meter.failures == {"garbage": 1}

    on_lane(FarSide([GOOD]), scene)


def test_credentials_are_in_no_error_whoever_worded_it() -> None:
    """A server that echoes the key in a body, an error of decode or of the transport: all masked."""
    echoes = [
        Response(401, {"www-authenticate": "canary-key"}, b"bad canary-key"),
        Response(307, {"location": "https://evil.example/?key=canary-key"}, b""),
        Response(200, {}, b"canary-key"),
        PermanentCallError("cannot send canary-key", where="canary-key", hint="canary-key"),
    ]

    async def scene(lane: Lane, meter: Meter) -> None:
        for _ in echoes:
            with pytest.raises(CallError, match=r"\*\*\*") as caught:
                await lane.call(request(), decode)
            assert "canary" not in repr((str(caught.value), vars(caught.value), caught.value.args))

    on_lane(FarSide(echoes), scene, max_attempts=1)


def test_requests_per_minute_pace_attempts_in_order() -> None:
    """Every attempt counts, retries too, and no 60 s hold more than N."""
    sent: list[tuple[float, bytes]] = []

    def reply(sent_request: Request) -> Response:
        sent.append((asyncio.get_running_loop().time(), sent_request.body))
        return GOOD if len(sent) % 3 else error_response(500)

    async def scene(lane: Lane, meter: Meter) -> None:
        await asyncio.gather(*(lane.call(request(str(number)), decode) for number in range(120)))
        times = [time for time, _ in sent]
        assert meter.attempts == len(times) > 170
        for time in times:
            assert sum(time <= other <= time + 60 for other in times) <= 30
        first_sent = list(dict.fromkeys(int(body) for _, body in sent))
        assert first_sent == sorted(first_sent)

    on_engine(FarSide(reply), scene, requests_per_minute=30, breaker_failures=1000, deadline_s=10_000)


def test_a_call_cancelled_while_it_waits_for_the_quota_leaves_the_line() -> None:
    """It takes no slot and no turn from the others."""
    transport = FarSide(lambda _: GOOD)

    async def scene(lane: Lane, meter: Meter) -> None:
        calls = [asyncio.create_task(lane.call(request(str(number)), decode)) for number in range(4)]
        await asyncio.sleep(10.0)
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert [sent.body for sent in transport.requests] == [b"0", b"2", b"3"]
        assert asyncio.get_running_loop().time() == pytest.approx(2 * 60 / 0.98)

    on_engine(transport, scene, requests_per_minute=1)


def test_a_retry_that_waits_for_the_quota_beyond_its_deadline_is_not_sent() -> None:
    """After the first send every wait is charged; the error is that of the attempt before."""
    transport = FarSide([error_response(500)])

    async def scene(lane: Lane, meter: Meter) -> None:
        with pytest.raises(TransientCallError, match=r"answered 500.*deadline_s=30"):
            await lane.call(request(), decode)
        assert meter.attempts == 1

    on_engine(transport, scene, requests_per_minute=1, deadline_s=30)


def test_one_key_is_one_lane() -> None:
    """Two steps of one model share its slots; the same key with other terms is refused."""

    async def main() -> None:
        async with Engine(FarSide([]), rng=random.Random(0)) as engine:
            first = engine.lane("m", limits=Limits(), endpoint=ENDPOINT)
            assert engine.lane("m", limits=Limits(), endpoint=ENDPOINT) is first
            assert engine.lane("other", limits=Limits(), endpoint=ENDPOINT) is not first
            with pytest.raises(ConfigError, match="'m' is used twice"):
                engine.lane("m", limits=Limits(concurrency=3), endpoint=ENDPOINT)

    run_virtual(main())
