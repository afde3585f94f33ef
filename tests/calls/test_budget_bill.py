"""The far side's own bill stays within the budget, whatever it answers, and however runs end and go on."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from answer import decode_bill
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from tidemill.calls.budget import NOTHING, BudgetLedger, Pricing, Spend
from tidemill.calls.engine import Engine
from tidemill.calls.limits import Budget, Limits, LongRates, Price
from tidemill.calls.wire import Request, Response, UnreachableError, Usage
from tidemill.errors import BudgetError, TransientCallError
from tidemill.testing.clock import run_virtual
from tidemill.testing.scripted import STALL, ScriptedTransport, error_response

ENDPOINT = "https://api.example/v1"


@dataclass(frozen=True)
class Habits:
    """What the far side is like.

    Attributes:
        price: what it bills at, which is known.
        untold: the share of its good answers that do not say what they used.
        cached, written: whether it reads input from a cache, and writes some to one.
        beyond: tokens both ways on top of what a request allows.
    """

    price: Price
    untold: float
    cached: bool
    written: bool
    beyond: int


@dataclass
class Bank:
    """What outlives a process: the lease on disk; and what the far side has billed, with what nobody could foresee."""

    habits: Habits
    lease: Spend = NOTHING
    bill: Spend = NOTHING
    unforeseen: Spend = NOTHING
    sessions: list[BudgetLedger] = field(default_factory=list)

    async def commit(self, lease: Spend) -> None:
        await asyncio.sleep(0.01)
        self.lease = lease


class Biller(ScriptedTransport):
    """A far side that bills a request when it comes."""

    def __init__(self, rng: random.Random, bank: Bank) -> None:
        super().__init__(self._answer, latency_s=0.05)
        self.rng = rng
        self.bank = bank
        self.pricing = Pricing(bank.habits.price)

    def _answer(self, request: Request) -> Any:
        self.latency_s = self.rng.uniform(0.01, 1.0)
        kind = self.rng.random()
        if kind < 0.08:
            self.bank.bill = self.bank.bill.plus(Spend(calls=1))
            return error_response(self.rng.choice([400, 429]), headers={"retry-after": "0.1"})
        if kind < 0.12:
            return UnreachableError("connection refused")
        usage = self._bill(request)
        if kind < 0.2:
            return Response(200, {}, b"garbage")
        if kind < 0.28:
            return TransientCallError("cut")
        if kind < 0.33:
            return STALL
        if kind < 0.38:
            return error_response(503)
        if self.rng.random() < self.bank.habits.untold:
            return Response(200, {}, b"untold")
        return Response(200, {}, b" ".join(b"%d" % tokens for tokens in astuple(usage)))

    def _bill(self, request: Request) -> Usage:
        """What it costs; told only by a good answer, so that what goes beyond may stay unknown for a while."""
        usage = self._use(request)
        cost = self.pricing.cost(usage)
        self.bank.bill = self.bank.bill.plus(cost)
        ceiling = self.pricing.ceiling(request).plus(self.bank.sessions[-1].overrun)
        self.bank.unforeseen = self.bank.unforeseen.plus(cost.minus(ceiling).widen(NOTHING))
        return usage

    def _use(self, request: Request) -> Usage:
        rng, habits = self.rng, self.bank.habits
        most_input, most_output = len(request.body), request.max_output_tokens or 0
        if habits.beyond and rng.random() < 0.5:
            most_input, most_output = most_input + habits.beyond, most_output + habits.beyond
            used = most_input
        else:
            used = rng.choice([most_input, rng.randint(0, most_input)])
        cached = rng.randint(0, used) if habits.cached else 0
        written = rng.choice([used - cached, rng.randint(0, used - cached)]) if habits.written else 0
        return Usage(used, rng.choice([most_output, rng.randint(0, most_output)]), cached, written)


async def spend(bank: Bank, transport: Biller, budget: Budget, limits: Limits) -> None:
    """One process's life, ended in the middle of everything; some of its calls are cancelled before."""
    rng = transport.rng
    ledger = BudgetLedger(budget, bank.lease)
    bank.sessions.append(ledger)
    engine = Engine(transport, rng=rng, budget=ledger, commit_lease=bank.commit)
    lane = engine.lane("m", limits=limits, endpoint=ENDPOINT, price=bank.habits.price)
    sizes = [(rng.randint(1, 200), rng.randint(0, 100)) for _ in range(60)]
    requests = [Request(ENDPOINT, {}, b"x" * size, output) for size, output in sizes]
    calls = [asyncio.create_task(lane.call(sent, decode_bill)) for sent in requests]
    for call in rng.sample(calls, 10):
        asyncio.get_running_loop().call_later(rng.uniform(0.0, 4.0), call.cancel)
    await asyncio.sleep(rng.uniform(0.0, 8.0))
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert not any(isinstance(outcome, AssertionError) for outcome in outcomes)
    assert all("allows no further" in str(outcome) for outcome in outcomes if isinstance(outcome, BudgetError))


USD = st.just(0.0) | st.floats(0.0, 20.0)
RATES: dict[str, Any] = {
    "input": USD,
    "output": USD,
    "cached_input": st.none() | USD,
    "cache_write": st.none() | USD,
}
LONG = st.builds(LongRates, above_tokens=st.integers(1, 250), **RATES)
PRICES = st.builds(Price, long_input=st.none() | LONG, **RATES)
HABITS = st.builds(
    Habits,
    price=PRICES,
    untold=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    cached=st.booleans(),
    written=st.booleans(),
    beyond=st.sampled_from([0, 0, 37]),
)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    habits=HABITS,
    usd=st.none() | st.integers(1, 60_000),
    tokens=st.none() | st.integers(1, 20_000),
    calls=st.integers(1, 150),
    concurrency=st.integers(1, 16),
)
def test_the_bill_of_many_sittings_stays_within_one_budget(
    seed: int, habits: Habits, usd: int | None, tokens: int | None, calls: int, concurrency: int
) -> None:
    """At any price: with caches, long inputs, timeouts, retries, garbage, missing usage, cancelled calls, crashes; and

    with usage that no request foretells. Of that, only what attempts took that were sent before the first report of it
    came goes beyond.
    """
    bank, rng = Bank(habits), random.Random(seed)
    budget = Budget(usd=None if usd is None else usd / 10**6, tokens=tokens, calls=calls)
    cap = BudgetLedger(budget).cap.plus(NOTHING)
    limits = Limits(concurrency=concurrency, attempt_timeout_s=2.0, breaker_failures=1_000)
    for _ in range(4):
        transport = Biller(rng, bank)
        run_virtual(spend(bank, transport, budget, limits))
        assert bank.bill.fits(cap.plus(bank.unforeseen))
        assert habits.beyond or bank.unforeseen == NOTHING
        assert bank.bill.calls <= calls


@given(
    price=PRICES,
    size=st.integers(1, 400),
    most_output=st.integers(0, 400),
    shares=st.tuples(*[st.floats(0.0, 1.0)] * 4),
)
def test_no_usage_that_a_request_allows_costs_more_than_its_ceiling(
    price: Price, size: int, most_output: int, shares: tuple[float, float, float, float]
) -> None:
    """However much of it is read from a cache or written to one, below or above the bound of a long input."""
    pricing = Pricing(price)
    used, output = round(shares[0] * size), round(shares[1] * most_output)
    cached = round(shares[2] * used)
    usage = Usage(used, output, cached, round(shares[3] * (used - cached)))
    request = Request(ENDPOINT, {}, b"x" * size, most_output)
    assert pricing.cost(usage).fits(pricing.ceiling(request))
