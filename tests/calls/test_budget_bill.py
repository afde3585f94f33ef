"""The far side's own bill stays within the budget, whatever it answers, and however runs end and go on."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.calls.budget import NOTHING, BudgetLedger, Pricing, Spend
from tidemill.calls.engine import Engine
from tidemill.calls.limits import Budget, Limits, Price
from tidemill.calls.wire import Request, Response, UnreachableError, Usage
from tidemill.errors import BudgetError, TransientCallError
from tidemill.testing.clock import run_virtual
from tidemill.testing.scripted import STALL, ScriptedTransport, error_response

ENDPOINT = "https://api.example/v1"


@dataclass
class Answer:
    usage: Usage | None
    is_cut: bool = False
    first_token_s: float | None = None


def decode(response: Response) -> Answer:
    if response.body == b"garbage":
        raise TransientCallError("garbage")
    return Answer(None if response.body == b"untold" else Usage(*map(int, response.body.split())))


@dataclass
class Bank:
    """What outlives a process: the lease on disk; and what the far side has billed, with what nobody could foresee."""

    pricing: Pricing
    lease: Spend = NOTHING
    bill: Spend = NOTHING
    unforeseen: Spend = NOTHING
    sessions: list[BudgetLedger] = field(default_factory=list)

    async def commit(self, lease: Spend) -> None:
        await asyncio.sleep(0.01)
        self.lease = lease


class Biller(ScriptedTransport):
    """A far side that bills a request when it comes, with `beyond` tokens on top of what the request allows."""

    def __init__(self, rng: random.Random, bank: Bank, beyond: int) -> None:
        super().__init__(self._answer, latency_s=0.05)
        self.rng = rng
        self.bank = bank
        self.beyond = beyond

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
            return Response(200, {}, b"untold")
        if kind < 0.38:
            return STALL
        if kind < 0.43:
            return error_response(503)
        return Response(200, {}, b" ".join(b"%d" % tokens for tokens in usage))

    def _bill(self, request: Request) -> Usage:
        """What it costs; told only by a good answer, so that what goes beyond may stay unknown for a while."""
        pricing, ledger = self.bank.pricing, self.bank.sessions[-1]
        allowed, most = len(request.body), request.max_output_tokens or 0
        output = self.rng.choice([most, self.rng.randint(0, most)])
        usage = Usage(self.rng.randint(0, allowed) if not self.beyond else allowed + self.beyond, output)
        cost = pricing.cost(usage)
        self.bank.bill = self.bank.bill.plus(cost)
        ceiling = pricing.ceiling(request).plus(ledger.overrun)
        self.bank.unforeseen = self.bank.unforeseen.plus(cost.minus(ceiling).widen(NOTHING))
        return usage


async def spend(bank: Bank, transport: Biller, budget: Budget, limits: Limits) -> None:
    """One process's life, ended in the middle of everything; some of its calls are cancelled before."""
    rng = transport.rng
    ledger = BudgetLedger(budget, bank.lease)
    bank.sessions.append(ledger)
    engine = Engine(transport, rng=rng, budget=ledger, commit_lease=bank.commit)
    lane = engine.lane("m", limits=limits, endpoint=ENDPOINT, price=PRICE)
    sizes = [(rng.randint(1, 200), rng.randint(0, 100)) for _ in range(60)]
    requests = [Request(ENDPOINT, {}, b"x" * size, output) for size, output in sizes]
    calls = [asyncio.create_task(lane.call(sent, decode)) for sent in requests]
    for call in rng.sample(calls, 10):
        asyncio.get_running_loop().call_later(rng.uniform(0.0, 4.0), call.cancel)
    await asyncio.sleep(rng.uniform(0.0, 8.0))
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert not any(isinstance(outcome, AssertionError) for outcome in outcomes)
    assert all("allows no further" in str(outcome) for outcome in outcomes if isinstance(outcome, BudgetError))


PRICE = Price(0.5, 2.0)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    usd=st.none() | st.integers(1, 20_000),
    tokens=st.none() | st.integers(1, 20_000),
    calls=st.integers(1, 150),
    concurrency=st.integers(1, 16),
    beyond=st.sampled_from([0, 0, 37]),
)
def test_the_bill_of_many_sittings_stays_within_one_budget(
    seed: int, usd: int | None, tokens: int | None, calls: int, concurrency: int, beyond: int
) -> None:
    """Timeouts, retries, garbage, missing usage, cancelled calls, crashes; and usage that no request foretells.

    Of the last, only what attempts took that were sent before the first report of it came goes beyond.
    """
    bank, rng = Bank(Pricing(PRICE)), random.Random(seed)
    budget = Budget(usd=None if usd is None else usd / 10**6, tokens=tokens, calls=calls)
    cap = BudgetLedger(budget).cap.plus(NOTHING)
    limits = Limits(concurrency=concurrency, attempt_timeout_s=2.0, breaker_failures=1_000)
    for _ in range(4):
        transport = Biller(rng, bank, beyond)
        run_virtual(spend(bank, transport, budget, limits))
        assert bank.bill.fits(cap.plus(bank.unforeseen))
        assert beyond or bank.unforeseen == NOTHING
        assert bank.bill.calls <= calls
