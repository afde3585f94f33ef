"""Coalescing: identical requests in flight are sent once; each of those who ask commits the reply as its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from answer import Answer

from tidemill.calls.coalesce import Coalescing
from tidemill.calls.engine import Engine
from tidemill.calls.limits import Limits
from tidemill.calls.meter import Meter
from tidemill.calls.wire import Request, Response
from tidemill.errors import CallError, PermanentCallError, ResourceError, TransientCallError
from tidemill.testing import ScriptedTransport, error_response, run_virtual

ENDPOINT = "https://api.example/v1"


@dataclass
class Desk:
    """Those who ask: each notes what it committed, and when."""

    way: Coalescing
    meter: Meter
    committed: list[tuple[str, str, int]] = field(default_factory=list)
    commit_s: float = 0.0

    def ask(self, name: str, body: str = "hello", commit: Callable[..., Any] | None = None) -> asyncio.Task[str]:
        async def note(value: Answer, attempts: int) -> None:
            await asyncio.sleep(self.commit_s)
            self.committed.append((name, value.text, attempts))

        async def run() -> str:
            request = Request(ENDPOINT, {}, body.encode(), 10)
            value: Answer = await self.way.call(
                request, lambda response: Answer(text=response.body.decode()), commit or note
            )
            return value.text

        return asyncio.create_task(run())


def on_desk(transport: ScriptedTransport, scene: Callable[[Desk], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def main() -> None:
        async with Engine(transport, rng=random.Random(0)) as engine:
            lane = engine.lane("m", limits=Limits(**limits), endpoint=ENDPOINT)
            await scene(Desk(Coalescing(lane, engine.meter), engine.meter))
            assert engine.meter.in_flight == transport.in_flight == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def counted(latency_s: float = 1.0) -> ScriptedTransport:
    """Replies that are numbered."""
    number = iter(range(100))
    return ScriptedTransport(lambda request: Response(200, {}, f"reply {next(number)}".encode()), latency_s=latency_s)


def test_identical_requests_in_flight_are_sent_once() -> None:
    """Each commits the reply as its own, with the attempts it made itself: none but the first."""
    transport = counted()

    async def scene(desk: Desk) -> None:
        tasks = [desk.ask("a"), desk.ask("b"), desk.ask("other", "other"), desk.ask("c")]
        assert [await task for task in tasks] == ["reply 0", "reply 0", "reply 1", "reply 0"]
        assert sorted(desk.committed) == [
            ("a", "reply 0", 1),
            ("b", "reply 0", 0),
            ("c", "reply 0", 0),
            ("other", "reply 1", 1),
        ]
        assert (desk.meter.calls, desk.meter.attempts, desk.meter.coalesced) == (2, 2, 2)

    on_desk(transport, scene)


def test_one_that_comes_once_the_reply_is_there_is_sent() -> None:
    """Also while the first are being committed: it would be committed apart from them."""
    transport = counted()

    async def scene(desk: Desk) -> None:
        desk.commit_s = 5.0
        first = desk.ask("a")
        await asyncio.sleep(2)
        second = desk.ask("b")
        assert [await first, await second] == ["reply 0", "reply 1"]

    on_desk(transport, scene)


def test_nobody_gets_a_reply_before_all_have_committed_it() -> None:
    """So a crash never finds a reply used that is not durable, and the slot is held until then."""
    transport = counted()

    async def scene(desk: Desk) -> None:
        desk.commit_s = 5.0
        tasks = [desk.ask("a"), desk.ask("b")]
        await asyncio.sleep(5.5)
        assert not any(task.done() for task in tasks)
        third = desk.ask("slot", "other")
        assert len(transport.requests) == 1
        await asyncio.gather(*tasks, third)
        assert [name for name, *_ in desk.committed] == ["a", "b", "slot"]

    on_desk(transport, scene, concurrency=1)


def test_the_first_that_is_cancelled_takes_nobody_with_it() -> None:
    """The call goes on for the others, and is not billed again: the next of them is the one it was sent for."""
    transport = counted()

    async def scene(desk: Desk) -> None:
        first, *others = [desk.ask(name) for name in "abc"]
        await asyncio.sleep(0.5)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert [await other for other in others] == ["reply 0", "reply 0"]
        assert sorted(desk.committed) == [("b", "reply 0", 1), ("c", "reply 0", 0)]
        assert (desk.meter.calls, desk.meter.coalesced) == (1, 1)

    on_desk(transport, scene)


def test_a_call_that_nobody_waits_for_any_more_is_cancelled() -> None:
    """It has ended before the last of them does; whoever asks then is a call of its own."""
    transport = counted()

    async def scene(desk: Desk) -> None:
        tasks = [desk.ask("a"), desk.ask("b")]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        later = desk.ask("c")
        assert all(
            isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*tasks, return_exceptions=True)
        )
        assert transport.in_flight == 1
        assert (await later, len(transport.requests)) == ("reply 1", 2)

    on_desk(transport, scene)


def test_closing_ends_what_is_on_its_way() -> None:
    """Whoever still waits is cancelled."""

    async def scene(desk: Desk) -> None:
        tasks = [desk.ask("a"), desk.ask("b")]
        await asyncio.sleep(0.5)
        await desk.way.close()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, asyncio.CancelledError]

    on_desk(counted(), scene)


@pytest.mark.parametrize(
    ("limits", "end_s"), [({"max_attempts": 100}, 600.0), ({"max_attempts": 2, "deadline_s": 1e6}, None)]
)
def test_all_share_one_deadline_and_one_bound_on_attempts(limits: dict[str, Any], end_s: float | None) -> None:
    """Of a far side that stalls, also for one that comes to it late: together they take no longer than one alone."""
    transport = ScriptedTransport(lambda request: Response(200, {}, b"late"), latency_s=1e6)

    async def scene(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        ended: list[float] = []

        async def ask(name: str, after_s: float) -> CallError:
            await asyncio.sleep(after_s)
            with pytest.raises(TransientCallError, match="the last by") as failure:
                await desk.ask(name)
            ended.append(loop.time() - started)
            return failure.value

        errors = await asyncio.gather(*(ask(f"{number}", 0.0 if number < 5 else 119.0) for number in range(6)))
        assert len(set(ended)) == 1
        assert end_s is None or ended[0] == pytest.approx(end_s)
        assert (desk.meter.calls, desk.meter.failed, desk.meter.coalesced) == (1, 1, 0)
        assert [error.attempts for error in errors] == [desk.meter.attempts, 0, 0, 0, 0, 0]
        assert len({id(error) for error in errors}) == 6
        assert desk.committed == []

    on_desk(transport, scene, breaker_failures=1_000, **limits)


def test_a_failure_of_the_request_is_everybody_s() -> None:
    """A 400 would be answered again; each has an error of its own, to which it may add."""
    transport = ScriptedTransport(lambda request: error_response(400, "no"), latency_s=1.0)

    async def scene(desk: Desk) -> None:
        results = await asyncio.gather(*(desk.ask(name) for name in "abc"), return_exceptions=True)
        errors = [each for each in results if isinstance(each, PermanentCallError)]
        assert [error.status for error in errors] == [400, 400, 400]
        assert len({id(error) for error in errors}) == 3
        assert len(transport.requests) == 1

    on_desk(transport, scene)


def test_a_follower_that_is_cancelled_is_forgotten() -> None:
    transport = counted()

    async def scene(desk: Desk) -> None:
        leader, gone, other = [desk.ask(name) for name in "abc"]
        await asyncio.sleep(0.5)
        gone.cancel()
        assert [await leader, await other] == ["reply 0", "reply 0"]
        assert [name for name, *_ in desk.committed] == ["a", "c"]
        with pytest.raises(asyncio.CancelledError):
            await gone

    on_desk(transport, scene)


def test_a_commit_that_fails_fails_all() -> None:
    """The disk is full for each of them, and nobody sends the request again."""
    transport = counted()

    async def refuse(value: Any, attempts: int) -> None:
        raise ResourceError("no space left on device")

    async def scene(desk: Desk) -> None:
        results = await asyncio.gather(
            desk.ask("a", commit=refuse), desk.ask("b", commit=refuse), return_exceptions=True
        )
        assert [type(each) for each in results] == [ResourceError, ResourceError]
        assert len(transport.requests) == 1

    on_desk(transport, scene)


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_asking_cancelling_and_failing_ends(seed: int) -> None:
    """Whoever is not cancelled gets a reply of its own request or an error, and committed what it got just once."""

    rng = random.Random(seed)

    def choose(request: Request) -> Response:
        status = rng.choice([200, 200, 200, 400, 500])
        return Response(200, {}, request.body) if status == 200 else error_response(status)

    async def scene(desk: Desk) -> None:
        tasks: dict[str, asyncio.Task[str]] = {}
        for number in range(40):
            await asyncio.sleep(rng.choice([0, 0, 0.3, 1.1]))
            tasks[f"{number}"] = desk.ask(f"{number}", rng.choice("xyz"))
            if rng.random() < 0.3:
                rng.choice(list(tasks.values())).cancel()
        results = dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))
        got = {name for name, result in results.items() if isinstance(result, str)}
        assert got <= {name for name, *_ in desk.committed}
        assert len({name for name, *_ in desk.committed}) == len(desk.committed)
        assert all(isinstance(result, (str, CallError, asyncio.CancelledError)) for result in results.values())

    on_desk(ScriptedTransport(choose, latency_s=1.0), scene, max_attempts=1, breaker_failures=1_000)
