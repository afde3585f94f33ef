"""The hard budget through the engine: what the far side bills never passes what was leased before."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from answer import Answer, decode_bill
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.calls.budget import NOTHING, BudgetLedger, Pricing, Spend
from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Budget, Limits, Price
from tidemill.calls.wire import Request, Response, UnreachableError, Usage
from tidemill.errors import BudgetError, ConfigError, PermanentCallError, TransientCallError
from tidemill.testing.clock import run_virtual
from tidemill.testing.scripted import STALL, ScriptedTransport, error_response

ENDPOINT = "https://api.example/v1"
PRICE = Price(0.5, 2.0)
PRICING = Pricing(PRICE)
REQUEST = Request(ENDPOINT, {}, b"x" * 100, 50)
CEILING = PRICING.ceiling(REQUEST)
SMALL = Request(ENDPOINT, {}, b"x" * 10, 10)


class Disk:
    """Where leases are committed: what would survive a crash."""

    def __init__(self, lease: Spend = NOTHING, *, delay_s: float = 0.01) -> None:
        self.lease = lease
        self.delay_s = delay_s
        self.commits = 0
        self.error: Exception | None = None

    async def commit(self, lease: Spend) -> None:
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        self.lease = lease
        self.commits += 1


def on_engine(
    transport: ScriptedTransport,
    ledger: BudgetLedger,
    disk: Disk,
    scene: Callable[[Lane], Coroutine[Any, Any, None]],
    **limits: Any,
) -> None:
    async def main() -> None:
        async with Engine(transport, rng=random.Random(0), budget=ledger, commit_lease=disk.commit) as engine:
            await scene(engine.lane("m", limits=Limits(**limits), endpoint=ENDPOINT, price=PRICE))
            assert ledger.reserved == NOTHING, "no reservation is left behind"
        assert disk.lease == ledger.lease == ledger.spent, "a clean stop leases what is spent"

    run_virtual(main())


def reply(text: str) -> Response:
    return Response(200, {}, text.encode())


def test_reported_usage_is_what_is_spent() -> None:
    """A hundred calls cost what the far side said, and few leases."""
    disk, ledger = Disk(), BudgetLedger(Budget(tokens=100 * 30))
    transport = ScriptedTransport(lambda _: reply("10 5"), latency_s=0.1)

    async def scene(lane: Lane) -> None:
        await asyncio.gather(*(lane.call(REQUEST, decode_bill) for _ in range(100)))
        assert ledger.spent == Spend(100, 1500, 100 * (10 * 500_000 + 5 * 2_000_000))
        assert disk.commits < 25

    on_engine(transport, ledger, disk, scene, concurrency=8)


def test_an_engine_without_leases_holds_the_budget_too() -> None:
    """Plain iteration: the same cap, and nothing to commit."""

    async def main() -> None:
        ledger = BudgetLedger(Budget(calls=3), durable=False)
        transport = ScriptedTransport(lambda _: reply("10 5"), latency_s=0.1)
        async with Engine(transport, rng=random.Random(0), budget=ledger) as engine:
            lane = engine.lane("m", limits=Limits(), endpoint=ENDPOINT)
            answers = await asyncio.gather(*(lane.call(REQUEST, decode_bill) for _ in range(5)), return_exceptions=True)
            assert [type(answer) for answer in answers] == [Answer] * 3 + [BudgetError] * 2
            assert len(transport.requests) == 3

    run_virtual(main())


@pytest.mark.parametrize(
    ("replies", "spent"),
    [
        ([reply("untold")], CEILING),
        ([reply("garbage"), reply("10 5")], CEILING.plus(PRICING.cost(Usage(10, 5)))),
        ([error_response(500), reply("10 5")], CEILING.plus(PRICING.cost(Usage(10, 5)))),
        ([STALL, reply("10 5")], CEILING.plus(PRICING.cost(Usage(10, 5)))),
        ([TransientCallError("cut"), reply("10 5")], CEILING.plus(PRICING.cost(Usage(10, 5)))),
        ([error_response(429), reply("10 5")], Spend(calls=1).plus(PRICING.cost(Usage(10, 5)))),
        ([UnreachableError("refused"), reply("10 5")], PRICING.cost(Usage(10, 5))),
    ],
)
def test_each_end_of_an_attempt_counts_as_it_may_have_been_billed(replies: list[Any], spent: Spend) -> None:
    """Unknown usage counts whole; a refusal is a request; what was never sent is nothing."""
    ledger = BudgetLedger(Budget(tokens=10_000))

    async def scene(lane: Lane) -> None:
        await lane.call(REQUEST, decode_bill)
        assert ledger.spent == spent

    on_engine(ScriptedTransport(replies), ledger, Disk(), scene)


def test_a_permanent_refusal_gives_its_tokens_back() -> None:
    """A 400 costs a request, not its ceiling."""
    ledger = BudgetLedger(Budget(tokens=10_000, calls=10))

    async def scene(lane: Lane) -> None:
        with pytest.raises(PermanentCallError, match="answered 400"):
            await lane.call(REQUEST, decode_bill)
        assert ledger.spent == Spend(calls=1)

    on_engine(ScriptedTransport([error_response(400)]), ledger, Disk(), scene)


def test_calls_wait_for_refunds_before_the_budget_is_called_spent() -> None:
    """With room for one ceiling at a time calls go one by one, and as many land as really fit."""
    ledger = BudgetLedger(Budget(tokens=CEILING.tokens + 20 * 15))
    transport = ScriptedTransport(lambda _: reply("10 5"), latency_s=0.1)

    async def scene(lane: Lane) -> None:
        answers = await asyncio.gather(*(lane.call(REQUEST, decode_bill) for _ in range(40)), return_exceptions=True)
        landed = [isinstance(answer, Answer) for answer in answers]
        assert landed == [True] * 21 + [False] * 19
        assert isinstance(answers[-1], BudgetError)

    on_engine(transport, ledger, Disk(), scene, concurrency=40)


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.5])
def test_a_cancelled_call_leaves_no_reservation(after_s: float) -> None:
    """Before the lease, during its commit, in flight: only what was sent counts, and that whole."""
    ledger = BudgetLedger(Budget(tokens=10_000))
    transport = ScriptedTransport([STALL])

    async def scene(lane: Lane) -> None:
        call = asyncio.create_task(lane.call(REQUEST, decode_bill))
        await asyncio.sleep(after_s)
        call.cancel()
        await asyncio.wait([call])
        assert ledger.reserved == NOTHING
        assert ledger.spent == (CEILING if after_s == 0.5 else NOTHING)
        await asyncio.sleep(1.0)

    on_engine(transport, ledger, Disk(), scene)


def test_the_budget_is_given_in_order() -> None:
    """A small request does not overtake a large one that waits for a refund."""
    ledger = BudgetLedger(Budget(tokens=CEILING.tokens + 50))
    transport = ScriptedTransport(lambda _: reply("10 5"), latency_s=1.0)

    async def scene(lane: Lane) -> None:
        calls = []
        for sent in (REQUEST, REQUEST, SMALL):
            calls.append(asyncio.create_task(lane.call(sent, decode_bill)))
            await asyncio.sleep(0.1)
        await asyncio.gather(*calls)
        assert transport.requests == [REQUEST, REQUEST, SMALL]

    on_engine(transport, ledger, Disk(), scene)


def test_a_cancelled_call_leaves_the_line_of_those_who_wait_for_the_budget() -> None:
    """Its need is no longer leased for, and the next in line is served at once, not at the next refund."""
    ledger = BudgetLedger(Budget(tokens=CEILING.tokens + 50))
    transport = ScriptedTransport(lambda _: reply("10 5"), latency_s=10.0)

    async def scene(lane: Lane) -> None:
        first = asyncio.create_task(lane.call(REQUEST, decode_bill))
        await asyncio.sleep(0.5)
        second, third = (asyncio.create_task(lane.call(sent, decode_bill)) for sent in (REQUEST, SMALL))
        await asyncio.sleep(0.5)
        assert transport.requests == [REQUEST]
        second.cancel()
        await asyncio.sleep(0.5)
        assert transport.requests == [REQUEST, SMALL]
        await asyncio.gather(first, third)

    on_engine(transport, ledger, Disk(), scene)


def test_a_reservation_granted_to_a_call_that_is_cancelled_in_the_same_moment_is_released() -> None:
    """The race between a lease and a cancellation loses no budget."""
    ledger = BudgetLedger(Budget(tokens=10_000))
    transport = ScriptedTransport([])

    class Racing(Disk):
        async def commit(self, lease: Spend) -> None:
            await super().commit(lease)
            asyncio.get_running_loop().call_soon(calls[0].cancel)

    async def scene(lane: Lane) -> None:
        call = asyncio.create_task(lane.call(REQUEST, decode_bill))
        calls.append(call)
        await asyncio.wait([call])
        assert call.cancelled()
        assert (ledger.reserved, ledger.spent) == (NOTHING, NOTHING)

    calls: list[asyncio.Task[Answer]] = []
    on_engine(transport, ledger, Racing(), scene)


def test_a_call_that_waits_for_the_quota_holds_no_reservation() -> None:
    """It keeps no one else from the budget; cancelled, nothing counts."""
    ledger = BudgetLedger(Budget(tokens=10_000))
    transport = ScriptedTransport(lambda _: reply("10 5"))

    async def scene(lane: Lane) -> None:
        await lane.call(REQUEST, decode_bill)
        spent = ledger.spent
        call = asyncio.create_task(lane.call(REQUEST, decode_bill))
        await asyncio.sleep(1.0)
        assert ledger.reserved == NOTHING
        call.cancel()
        await asyncio.wait([call])
        assert (ledger.reserved, ledger.spent) == (NOTHING, spent)

    on_engine(transport, ledger, Disk(), scene, requests_per_minute=1)


def test_back_off_holds_no_reservation() -> None:
    """A call that waits an hour keeps no one else from the budget."""
    ledger = BudgetLedger(Budget(tokens=CEILING.tokens))

    async def scene(lane: Lane) -> None:
        call = asyncio.create_task(lane.call(REQUEST, decode_bill))
        await asyncio.sleep(30.0)
        assert ledger.reserved == NOTHING
        call.cancel()
        await asyncio.wait([call])

    on_engine(ScriptedTransport([error_response(429, headers={"retry-after": "60"})]), ledger, Disk(), scene)


def test_a_lease_that_cannot_be_committed_fails_those_who_wait_for_it() -> None:
    """A full disk reaches the caller as it is; nothing is sent on a lease that is not durable."""
    disk, ledger = Disk(), BudgetLedger(Budget(calls=10))
    transport = ScriptedTransport(lambda _: reply("10 5"))
    disk.error = OSError("no space left on device")

    async def scene(lane: Lane) -> None:
        with pytest.raises(OSError, match="no space left"):
            await lane.call(REQUEST, decode_bill)
        assert transport.requests == []
        disk.error = None
        await lane.call(REQUEST, decode_bill)

    on_engine(transport, ledger, disk, scene)


def test_a_budget_that_cannot_be_held_is_refused_before_anything_is_sent() -> None:
    """No price for dollars, no max_tokens for tokens."""

    async def main() -> None:
        transport = ScriptedTransport([])
        async with Engine(transport, rng=random.Random(0), budget=BudgetLedger(Budget(usd=1))) as engine:
            with pytest.raises(ConfigError, match="needs every model's price"):
                engine.lane("m", limits=Limits(), endpoint=ENDPOINT)
            lane = engine.lane("m", limits=Limits(), endpoint=ENDPOINT, price=PRICE)
            with pytest.raises(ConfigError, match="needs max_tokens"):
                await lane.call(Request(ENDPOINT, {}, b"{}"), decode_bill)
            assert transport.requests == []

    run_virtual(main())


class Biller(ScriptedTransport):
    """A far side that bills every request that reaches it, whatever becomes of the reply."""

    def __init__(self, rng: random.Random, disk: Disk) -> None:
        super().__init__(self._answer, latency_s=0.05)
        self.rng = rng
        self.disk = disk
        self.bill = NOTHING

    def _answer(self, request: Request) -> Any:
        self.latency_s = self.rng.uniform(0.01, 1.0)
        output = self.rng.randint(0, request.max_output_tokens or 0)
        usage = Usage(self.rng.randint(0, len(request.body)), output)
        self.bill = self.bill.plus(PRICING.cost(usage))
        assert self.bill.tokens <= self.disk.lease.tokens, "what is billed was leased before"
        kind = self.rng.random()
        if kind < 0.1:
            return reply("garbage")
        if kind < 0.2:
            return TransientCallError("cut")
        if kind < 0.25:
            return reply("untold")
        return Response(200, {}, b"%d %d" % (usage.input_tokens, usage.output_tokens))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), tokens=st.integers(1, 20_000), concurrency=st.integers(1, 16))
def test_no_sequence_of_crashes_makes_the_bill_pass_the_budget(seed: int, tokens: int, concurrency: int) -> None:
    """Runs that crash anywhere and go on from their last durable lease spend at most the budget together."""
    rng = random.Random(seed)
    disk = Disk()
    transport = Biller(rng, disk)
    budget = Budget(tokens=tokens)

    async def session(lifetime_s: float) -> None:
        """One process's life, ended in the middle of everything."""
        ledger = BudgetLedger(budget, disk.lease)
        engine = Engine(transport, rng=rng, budget=ledger, commit_lease=disk.commit)
        lane = engine.lane("m", limits=Limits(concurrency=concurrency), endpoint=ENDPOINT)
        sizes = [(rng.randint(1, 200), rng.randint(0, 100)) for _ in range(60)]
        requests = [Request(ENDPOINT, {}, b"x" * size, output) for size, output in sizes]
        calls = [asyncio.create_task(lane.call(sent, decode_bill)) for sent in requests]
        await asyncio.sleep(lifetime_s)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    for _ in range(4):
        run_virtual(session(rng.uniform(0.0, 8.0)))
        assert transport.bill.tokens <= disk.lease.tokens <= tokens
