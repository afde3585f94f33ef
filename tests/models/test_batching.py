"""Batching: shares go out together once no more can join; a bad one is found, and each has its part of the bill."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from tidemill.calls.engine import Engine
from tidemill.calls.limits import Limits
from tidemill.calls.wire import Request, Response, Usage
from tidemill.errors import CallError, ConfigError, PermanentCallError, TransientCallError
from tidemill.models.steps.batching import Batching, share_out
from tidemill.testing import STALL, ScriptedTransport, error_response, run_virtual

ENDPOINT = "https://api.example/v1"


class Echo(NamedTuple):
    """What a share gets back: its own text."""

    text: str
    usage: Usage | None


class Echoes(NamedTuple):
    values: Sequence[str]
    usage: Usage | None
    is_cut: bool = False
    first_token_s: float | None = None


class Joined:
    """Shares as a list of texts; a share's size is its length."""

    def join(self, shares: Sequence[Request]) -> Request:
        return Request(ENDPOINT, {}, orjson.dumps([share.body.decode() for share in shares]), 0)

    def measure(self, share: Request) -> int:
        return len(share.body)

    def reply(self, value: str, usage: Usage | None) -> Echo:
        return Echo(value, usage)


def decode(response: Response) -> Echoes:
    texts = orjson.loads(response.body)
    return Echoes(texts, Usage(sum(map(len, texts)), 0))


@dataclass
class Scene:
    batching: Batching[str]
    transport: ScriptedTransport
    committed: list[str] = field(default_factory=list)
    commit_s: float = 0.0

    def ask(self, text: str) -> asyncio.Task[Echo]:
        async def commit(reply: Echo, attempts: int) -> None:
            await asyncio.sleep(self.commit_s)
            self.committed.append(reply.text)

        async def run() -> Echo:
            reply: Echo = await self.batching.call(Request("", {}, text.encode()), decode, commit)
            return reply

        return asyncio.create_task(run())

    @property
    def batches(self) -> list[list[str]]:
        return [orjson.loads(request.body) for request in self.transport.requests]


def play(
    scene: Callable[[Scene], Coroutine[Any, Any, None]],
    reply: Callable[[Request], Any] = lambda request: Response(200, {}, request.body),
    *,
    most: int = 4,
    most_size: int = 1_000,
    concurrency: int = 2,
    **limits: Any,
) -> None:
    async def main() -> None:
        transport = ScriptedTransport(reply, latency_s=1.0)
        async with Engine(transport, rng=random.Random(0)) as engine:
            lane = engine.lane("m", limits=Limits(concurrency=concurrency, **limits), endpoint=ENDPOINT)
            batching = Batching(lane, Joined(), most=most, most_size=most_size)
            await scene(Scene(batching, transport))
            assert batching.held == 0
            assert transport.in_flight == 0
            await batching.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_a_share_has_no_way_of_its_own_to_be_sent() -> None:
    """Its request is that of others as well."""

    async def scene(scene: Scene) -> None:
        with pytest.raises(ConfigError, match="is sent by its lane's transport"):
            await scene.batching.call(Request("", {}, b"a"), decode, send=scene.transport.send)
        assert scene.batches == []

    play(scene)


def test_those_who_ask_in_one_turn_of_the_loop_share_a_request() -> None:
    """At once, not after a while: nothing else can join them."""

    async def scene(scene: Scene) -> None:
        replies = await asyncio.gather(*map(scene.ask, "abc"))
        assert [reply.text for reply in replies] == ["a", "b", "c"]
        assert scene.batches == [["a", "b", "c"]]
        assert asyncio.get_running_loop().time() == 1.0

    play(scene)


def test_a_batch_that_is_full_goes_and_the_rest_follows() -> None:
    async def scene(scene: Scene) -> None:
        await asyncio.gather(*map(scene.ask, "abcdefghi"))
        assert scene.batches == [list("abcd"), list("efgh"), ["i"]]

    play(scene)


def test_a_batch_has_no_more_room_than_a_request_may_take() -> None:
    """A share that is larger than that goes alone."""

    async def scene(scene: Scene) -> None:
        await asyncio.gather(*map(scene.ask, ["aaa", "bbb", "cccc", "dddddddddd", "e"]))
        assert scene.batches == [["aaa", "bbb"], ["cccc"], ["dddddddddd"], ["e"]]

    play(scene, most_size=8)


def test_shares_gather_while_all_requests_are_on_their_way() -> None:
    """What comes one by one is sent as it comes until then, and together afterwards."""

    async def scene(scene: Scene) -> None:
        tasks = []
        for text in "abcde":
            tasks.append(scene.ask(text))
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
        assert scene.batches == [["a"], ["b"], ["c", "d", "e"]]

    play(scene)


def test_a_batch_waits_for_a_record_that_may_still_join() -> None:
    async def scene(scene: Scene) -> None:
        others = [True]
        scene.batching.may_join = lambda: bool(others)
        first = scene.ask("a")
        await asyncio.sleep(5)
        assert scene.batches == []
        second = scene.ask("b")
        await asyncio.sleep(5)
        others.clear()
        scene.batching.look_soon()
        await asyncio.gather(first, second)
        assert scene.batches == [["a", "b"]]

    play(scene)


def test_the_one_that_is_to_blame_fails_alone() -> None:
    """A batch that is refused for its content is halved until it is found: about two requests for each halving."""

    def reply(request: Request) -> Response:
        return error_response(400, "bad text") if b"bad" in request.body else Response(200, {}, request.body)

    async def scene(scene: Scene) -> None:
        texts = [*map(str, range(11)), "bad", *map(str, range(11, 15))]
        results = await asyncio.gather(*map(scene.ask, texts), return_exceptions=True)
        errors = [each for each in results if isinstance(each, BaseException)]
        assert [type(error) for error in errors] == [PermanentCallError]
        assert results[11] is errors[0]
        assert sorted(scene.committed) == sorted(set(texts) - {"bad"})
        assert len(scene.batches) == 9

    play(scene, reply, most=16)


@pytest.mark.parametrize(("status", "kind"), [(401, PermanentCallError), (500, TransientCallError)])
def test_any_other_failure_is_that_of_all(status: int, kind: type[CallError]) -> None:
    """Each record has an error of its own, to which it may add."""

    async def scene(scene: Scene) -> None:
        results = await asyncio.gather(*map(scene.ask, "abc"), return_exceptions=True)
        assert [type(each) for each in results] == [kind] * 3
        assert len({id(each) for each in results}) == 3
        assert len(scene.batches) == 1

    play(scene, lambda request: error_response(status), max_attempts=1)


def test_a_reply_to_fewer_or_more_than_asked_is_tried_again() -> None:
    bodies = iter([b'["a"]', b'["a","b","c"]', b'["a","b"]'])

    async def scene(scene: Scene) -> None:
        assert [reply.text for reply in await asyncio.gather(*map(scene.ask, "ab"))] == ["a", "b"]

    play(scene, lambda request: Response(200, {}, next(bodies)))


def test_nobody_gets_a_reply_before_all_are_committed() -> None:
    async def scene(scene: Scene) -> None:
        scene.commit_s = 5.0
        tasks = [*map(scene.ask, "ab")]
        await asyncio.sleep(5.5)
        assert not any(task.done() for task in tasks)
        await asyncio.gather(*tasks)
        assert scene.committed == ["a", "b"]

    play(scene)


def test_cancelling_all_of_a_batch_cancels_it() -> None:
    """One of several leaves the others be; what was not sent yet goes without those that left."""

    async def scene(scene: Scene) -> None:
        tasks = [*map(scene.ask, "abc")]
        await asyncio.sleep(0.5)
        assert scene.transport.in_flight == 1
        tasks[0].cancel()
        await asyncio.sleep(0.1)
        assert scene.transport.in_flight == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert scene.transport.in_flight == 0
        scene.batching.may_join = lambda: True
        left, stayed = scene.ask("left"), scene.ask("stayed")
        await asyncio.sleep(0.1)
        left.cancel()
        await asyncio.sleep(0.1)
        scene.batching.may_join = lambda: False
        scene.batching.look_soon()
        assert (await stayed).text == "stayed"
        assert scene.batches[1:] == [["stayed"]]

    play(scene, lambda request: Response(200, {}, request.body) if b"stayed" in request.body else STALL)


@pytest.mark.parametrize("seed", range(30))
def test_any_order_of_asking_cancelling_and_failing_ends(seed: int) -> None:
    """Everyone gets their own text back or an error; what was given was committed, once."""
    rng = random.Random(seed)

    def reply(request: Request) -> Response:
        status = rng.choice([200, 200, 200, 500]) if b"bad" not in request.body else 400
        return Response(200, {}, request.body) if status == 200 else error_response(status)

    async def scene(scene: Scene) -> None:
        tasks: dict[str, asyncio.Task[Echo]] = {}
        for number in range(50):
            await asyncio.sleep(rng.choice([0, 0, 0.2, 1.1]))
            text = f"{rng.choice(['bad', 'good', 'good'])} {number}"
            tasks[text] = scene.ask(text)
            if rng.random() < 0.2:
                rng.choice(list(tasks.values())).cancel()
        results = dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))
        given = {text for text, result in results.items() if isinstance(result, Echo) and result.text == text}
        assert given <= set(scene.committed)
        assert len(set(scene.committed)) == len(scene.committed)
        assert all(isinstance(each, (Echo, CallError, asyncio.CancelledError)) for each in results.values())
        assert not any(text.startswith("bad") for text in given)
        assert all(len(batch) <= 4 for batch in scene.batches)

    play(scene, reply, max_attempts=2, breaker_failures=1_000)


@given(
    st.tuples(st.integers(0, 10**7), st.integers(0, 10**4), st.integers(0, 10), st.just(0), st.just(0)),
    st.lists(st.integers(0, 10**5), min_size=1, max_size=50),
)
def test_the_parts_of_a_bill_are_the_bill_to_the_token(tokens: tuple[int, ...], sizes: list[int]) -> None:
    """None is negative, and none is a token further from its due than the others' rounding makes it."""
    usage = Usage(*tokens)
    parts = [part for part in share_out(usage, sizes) if part is not None]
    assert [sum(column) for column in zip(*map(astuple, parts), strict=True)] == list(tokens)
    assert all(amount >= 0 for part in parts for amount in astuple(part))
    total = sum(sizes)
    if total:
        assert all(
            abs(part.input_tokens - usage.input_tokens * size / total) <= 1 + 1e-6
            for part, size in zip(parts, sizes, strict=True)
        )
    assert share_out(None, sizes) == [None] * len(sizes)
