"""A lane whose limits change while calls are in flight and wait."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

from answer import Answer
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Limits
from tidemill.calls.wire import Request, Response
from tidemill.testing.clock import run_virtual
from tidemill.testing.scripted import ScriptedTransport

ENDPOINT = "https://api.example/v1"
REQUEST = Request(ENDPOINT, {}, b"{}", 1)


def decode(response: Response) -> Answer:
    return Answer()


class Watcher(ScriptedTransport):
    """A far side that answers after a second, and notes how many calls were in flight when each came."""

    def __init__(self) -> None:
        super().__init__(self.answer, latency_s=1.0)
        self.seen: list[tuple[float, int]] = []

    def answer(self, request: Request) -> Response:
        self.seen.append((asyncio.get_running_loop().time(), self.in_flight))
        return Response(200, {}, b"")


def on_lane(limits: Limits, changes: list[Limits], calls: int) -> Watcher:
    """What a far side saw of `calls`, the limits changed every 1.5 s; nothing is lost and all slots come back."""

    async def main() -> Watcher:
        transport = Watcher()
        async with Engine(transport, rng=random.Random(0)) as engine:
            lane = engine.lane("m", limits=limits, endpoint=ENDPOINT)
            sent = [asyncio.create_task(lane.call(REQUEST, decode)) for _ in range(calls)]
            for change in changes:
                await asyncio.sleep(1.5)
                lane.change(change)
                assert engine.lane("m", limits=limits, endpoint=ENDPOINT) is lane
            await asyncio.gather(*sent)
            await check_slots(lane, transport)
        return transport

    return run_virtual(main())


async def check_slots(lane: Lane, transport: Watcher) -> None:
    """Exactly as many calls as the last limits say go at once."""
    lane.change(lane.limits.model_copy(update={"requests_per_minute": None}))
    slots = lane.limits.slots
    transport.max_in_flight = 0
    await asyncio.gather(*(lane.call(REQUEST, decode) for _ in range(3 * slots)))
    assert transport.max_in_flight == slots


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8), calls=st.integers(1, 80))
def test_each_concurrency_holds_from_when_it_is_set(sizes: list[int], calls: int) -> None:
    """No call is sent while as many as are allowed then are in flight, and none is forgotten."""
    changes = [Limits(concurrency=size) for size in sizes[1:]]
    transport = on_lane(Limits(concurrency=sizes[0]), changes, calls)
    for at_s, in_flight in transport.seen[:calls]:
        allowed = sizes[min(int(at_s / 1.5), len(sizes) - 1)]
        assert in_flight <= allowed or at_s % 1.5 == 0.0


def test_a_pace_holds_from_when_it_is_set() -> None:
    """One call a minute; then sixty a minute, those who wait included; then none to wait for."""
    changes = [Limits(concurrency=99, requests_per_minute=rate) for rate in (60, None)]
    transport = on_lane(Limits(concurrency=99, requests_per_minute=1), changes, 40)
    times = [at_s for at_s, _ in transport.seen[:40]]
    assert times[0] == 0.0
    assert len([at_s for at_s in times if at_s < 1.5]) == 1
    assert len([at_s for at_s in times if at_s < 3.0]) <= 4
    assert times[-1] == 3.0


def test_a_lane_without_a_pace_takes_one() -> None:
    """From the next call on."""
    transport = on_lane(Limits(concurrency=2), [Limits(concurrency=2, requests_per_minute=60)], 12)
    times = [at_s for at_s, _ in transport.seen[:12]]
    assert times[:4] == [0.0, 0.0, 1.0, 1.0]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times[5:]))
