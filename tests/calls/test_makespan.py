"""Inside the limits, calls take as long together as the slowest of them takes alone."""

import asyncio
import random

import pytest
from answer import Answer
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.budget import BudgetLedger
from tidemill.calls.engine import Engine
from tidemill.calls.limits import Budget, Limits, Price
from tidemill.calls.wire import Request, Response, Usage
from tidemill.testing import run_virtual

ENDPOINT = "https://far.example/v1"


class Slow:
    """A far side that takes as long as a request's body says."""

    async def send(self, request: Request, timeout_s: float) -> Response:
        await asyncio.sleep(float(request.body))
        return Response(200, {}, b"")

    async def close(self) -> None:
        pass


@given(
    latencies=st.lists(st.floats(0.001, 100.0).map(lambda value: round(value, 3)), min_size=1, max_size=120),
    commit_s=st.sampled_from([0.0, 0.01]),
)
def test_the_makespan_is_the_slowest_calls(latencies: list[float], commit_s: float) -> None:
    """For any latencies in any order, with a slot each, a quota, a budget and commits."""

    async def commit(answer: Answer, attempts: int) -> None:
        await asyncio.sleep(commit_s)

    async def main() -> float:
        limits = Limits(concurrency=len(latencies), requests_per_minute=10_000_000)
        ledger = BudgetLedger(Budget(usd=10), durable=False)
        async with Engine(Slow(), rng=random.Random(0), budget=ledger) as engine:
            lane = engine.lane("m", limits=limits, endpoint=ENDPOINT, price=Price(0.1, 0.1))
            requests = [Request(ENDPOINT, {}, b"%.3f" % latency, 16) for latency in latencies]
            calls = [lane.call(each, lambda _: Answer(Usage(5, 5)), commit) for each in requests]
            await asyncio.gather(*calls)
            return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(max(latencies) + commit_s, abs=1e-6)
