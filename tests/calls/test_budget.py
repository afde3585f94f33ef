import json
import math
from typing import Any

import msgspec.structs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tidemill.calls.budget import NOTHING, BudgetLedger, Pricing, Spend
from tidemill.calls.limits import Budget, LongRates, Price
from tidemill.calls.wire import Request, Usage
from tidemill.errors import BudgetError, ConfigError

REQUEST = Request("https://api.example", {}, b"x" * 100, 50)


def leased(ledger: BudgetLedger, waiting: Spend) -> None:
    lease = ledger.next_lease(waiting)
    assert lease is not None
    ledger.widen(lease)


def test_a_ceiling_is_bytes_in_and_max_tokens_out() -> None:
    """The most an attempt can cost is known before it is sent, in exact pico-dollars."""
    pricing = Pricing(Price(0.15, 0.60))
    assert pricing.ceiling(REQUEST) == Spend(1, 150, 100 * 150_000 + 50 * 600_000)
    assert pricing.cost(Usage(20, 5)) == Spend(1, 25, 20 * 150_000 + 5 * 600_000)
    assert Pricing(None).ceiling(REQUEST).pico_usd == 0


def test_tokens_of_a_prompt_cache_have_rates_of_their_own() -> None:
    """Read from it they cost less, written to it more; without such a rate both cost what plain input does."""
    usage = Usage(100, 10, cached_tokens=60, cache_write_tokens=30)
    priced = Pricing(Price(1, 5, cached_input=0.1, cache_write=1.25))
    assert priced.cost(usage) == Spend(1, 110, (10 + 6) * 10**6 + 30 * 1_250_000 + 50 * 10**6)
    assert Pricing(Price(1, 5)).cost(usage) == Pricing(Price(1, 5)).cost(Usage(100, 10))
    assert priced.ceiling(REQUEST).pico_usd == 100 * 1_250_000 + 50 * 5 * 10**6


def test_a_long_input_is_billed_whole_at_its_rates() -> None:
    long = LongRates(input=2, output=6, above_tokens=100)
    pricing = Pricing(Price(1, 5, long_input=long))
    assert pricing.cost(Usage(100, 10)).pico_usd == 150 * 10**6
    assert pricing.cost(Usage(101, 10)).pico_usd == 262 * 10**6
    assert pricing.ceiling(REQUEST).pico_usd == 350 * 10**6
    assert pricing.ceiling(msgspec.structs.replace(REQUEST, body=b"x" * 101)).pico_usd == 502 * 10**6


def test_a_request_may_say_itself_what_its_input_comes_to() -> None:
    """An image costs by its size, not by the bytes of its address."""
    assert Pricing(Price(1, 5)).ceiling(msgspec.structs.replace(REQUEST, max_input_tokens=5_000)).tokens == 5_050


RATES = st.floats(0, 100).map(lambda rate: round(rate, 3))
FIELDS = {"input": RATES, "output": RATES, "cached_input": st.none() | RATES, "cache_write": st.none() | RATES}
LONG = st.builds(LongRates, **FIELDS, above_tokens=st.integers(1, 200))


@given(
    price=st.builds(Price, **FIELDS, long_input=st.none() | LONG),
    size=st.integers(1, 400),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_no_usage_costs_more_than_was_reserved(price: Price, size: int, shares: tuple[float, ...]) -> None:
    """Whatever the price, and however the input is split between plain, cached and written."""
    used = math.floor(size * shares[0])
    cached = math.floor(used * shares[1])
    written = math.floor((used - cached) * shares[2])
    usage = Usage(used, math.floor(50 * shares[3]), cached, written)
    pricing = Pricing(price)
    cost = pricing.cost(usage)
    assert cost.fits(pricing.ceiling(msgspec.structs.replace(REQUEST, body=b"x" * size)))
    assert cost.pico_usd >= 0


def test_nothing_is_reserved_before_its_lease() -> None:
    """A durable ledger starts with no lease; a wider one lets exactly what it covers through."""
    ledger = BudgetLedger(Budget(calls=10))
    one = Spend(calls=1)
    assert not ledger.reserve(one)
    leased(ledger, one)
    assert ledger.lease == Spend(calls=2)
    assert ledger.reserve(one)
    assert ledger.reserve(one)
    assert not ledger.reserve(one)


def test_without_anyone_to_commit_leases_the_whole_budget_is_leased() -> None:
    """Plain iteration keeps nothing, so it asks no one."""
    ledger = BudgetLedger(Budget(calls=2), durable=False)
    assert ledger.reserve(Spend(calls=1))
    assert ledger.next_lease(Spend(calls=1)) is None


def test_a_lease_is_asked_for_before_it_runs_out() -> None:
    """Once half of the slack is used the next lease is due, though no one waits."""
    ledger = BudgetLedger(Budget(calls=1000))
    leased(ledger, Spend(calls=64))
    asked = []
    for number in range(128):
        assert ledger.reserve(Spend(calls=1))
        if ledger.next_lease() is not None:
            asked.append(number)
    assert asked[0] in range(60, 70)


def test_a_crash_costs_what_is_in_flight_or_a_thousandth_of_the_budget() -> None:
    """One call at a time under a large budget is not one lease a call, and no lease is far ahead of its use."""
    ledger, leases = BudgetLedger(Budget(tokens=100_000)), 0
    for _ in range(500):
        while not ledger.reserve(Spend(1, 10, 0)):
            leased(ledger, Spend(1, 10, 0))
            leases += 1
        ledger.settle(Spend(1, 10, 0), None)
        assert ledger.lease.tokens - ledger.spent.tokens <= 110
    assert leases <= 5000 / 100


def test_usage_replaces_the_ceiling_and_unknown_usage_counts_whole() -> None:
    """The four ends of a reservation: settled, unknown, refused, never sent."""
    ledger = BudgetLedger(Budget(tokens=10_000), durable=False)
    ceiling = Spend(1, 150, 0)
    for _ in range(4):
        assert ledger.reserve(ceiling)
    assert ledger.reserved == Spend(4, 600, 0)
    ledger.settle(ceiling, Spend(1, 25, 0))
    assert ledger.spent == Spend(1, 25, 0)
    ledger.settle(ceiling, None)
    assert ledger.spent == Spend(2, 175, 0)
    ledger.refuse(ceiling)
    assert ledger.spent == Spend(3, 175, 0)
    ledger.release(ceiling)
    assert (ledger.spent, ledger.reserved) == (Spend(3, 175, 0), NOTHING)


def test_a_full_budget_waits_for_refunds_and_then_refuses() -> None:
    """While something in flight may give back it waits; then the error names what is spent and what would help."""
    ledger = BudgetLedger(Budget(usd=1.0, calls=100), durable=False)
    ceiling = Spend(1, 10, 6 * 10**11)
    assert ledger.reserve(ceiling)
    assert not ledger.reserve(ceiling)
    assert ledger.judge(ceiling) == "refund"
    ledger.settle(ceiling, None)
    assert ledger.judge(ceiling) == "never"
    error = ledger.refusal(ceiling)
    assert isinstance(error, BudgetError)
    assert str(error) == (
        "the budget allows no further call (usd: 0.6 of 1 spent, the next call may take 0.6)\n"
        "  what is finished is kept; go on with a higher budget.usd"
    )


def test_a_budget_needs_what_it_is_held_against() -> None:
    """Dollars need a price, dollars and tokens need a bound on the output; calls need neither."""
    endless = Request("https://api.example", {}, b"{}", None)
    dollars, tokens, calls = (BudgetLedger(Budget(**{name: 5})) for name in ("usd", "tokens", "calls"))
    with pytest.raises(ConfigError, match="needs every model's price"):
        dollars.check_lane(None)
    for ledger in (dollars, tokens):
        with pytest.raises(ConfigError, match="needs max_tokens"):
            ledger.check_request(endless)
        ledger.check_request(REQUEST)
    tokens.check_lane(None)
    calls.check_request(endless)


def test_a_budget_is_never_rounded_up() -> None:
    """The cap in pico-dollars is at most what the user wrote."""
    assert BudgetLedger(Budget(usd=0.1)).cap.pico_usd == 10**11
    assert BudgetLedger(Budget(usd=1e-13)).cap.pico_usd == 0


def test_a_clean_stop_leases_what_is_spent_and_no_more() -> None:
    """The slack is given back, so that stopping costs nothing."""
    ledger = BudgetLedger(Budget(tokens=10_000))
    leased(ledger, Spend(1, 150, 0))
    assert ledger.reserve(Spend(1, 150, 0))
    ledger.settle(Spend(1, 150, 0), Spend(1, 30, 0))
    assert ledger.lease.tokens == 300
    assert ledger.final_lease() == Spend(1, 30, 0)
    assert BudgetLedger(Budget(tokens=10_000), ledger.final_lease()).spent == Spend(1, 30, 0)


def test_a_spend_goes_through_json_and_back() -> None:
    """A lease is stored as plain numbers."""
    spend = Spend(3, 4, 5 * 10**12)
    assert Spend.from_dict(json.loads(json.dumps(spend.to_dict()))) == spend
    assert spend.usd == 5.0


def test_usage_beyond_what_a_request_allows_counts_whole_and_is_expected_from_then_on() -> None:
    """A hidden prompt, or thinking beyond `max_tokens`: the most there was of it goes on top of each reservation."""
    ledger = BudgetLedger(Budget(tokens=500), durable=False)
    ceiling = Spend(1, 100, 0)
    assert all(ledger.reserve(ceiling) for _ in range(4))
    ledger.settle(ceiling, Spend(1, 130, 0))
    assert (ledger.spent.tokens, ledger.overrun) == (130, Spend(0, 30, 0))
    assert not ledger.reserve(Spend(1, 1, 0)), "130 are spent, and the three in flight may come to 390"
    assert ledger.judge(Spend(1, 1, 0)) == "refund"
    ledger.settle(ceiling, Spend(1, 20, 0))
    assert ledger.overrun == Spend(0, 30, 0), "a smaller one changes nothing"
    assert not ledger.reserve(Spend(1, 61, 0))
    assert ledger.reserve(Spend(1, 60, 0))
    for reserved, cost in ((ceiling, 130), (ceiling, 130), (Spend(1, 60, 0), 90)):
        ledger.settle(reserved, Spend(1, cost, 0))
    assert (ledger.spent.tokens, ledger.reserved) == (500, NOTHING)


def test_a_reservation_with_an_overrun_gets_the_lease_it_waits_for() -> None:
    """The lease that is asked for covers what is on top of it, and of each that waits with it."""
    ledger = BudgetLedger(Budget(tokens=10_000))
    leased(ledger, Spend(1, 100, 0))
    assert ledger.reserve(Spend(1, 100, 0))
    ledger.settle(Spend(1, 100, 0), Spend(1, 1_100, 0))
    waiting = [Spend(1, 100, 0)] * 3
    assert not ledger.reserve(waiting[0])
    assert ledger.judge(waiting[0]) == "lease"
    leased(ledger, Spend(3, 300, 0))
    assert all(ledger.reserve(each) for each in waiting)


def test_a_budget_overrun_is_leased_whole() -> None:
    """What was spent beyond it is durable all the same, so that going on spends no more."""
    ledger = BudgetLedger(Budget(tokens=100))
    leased(ledger, Spend(1, 100, 0))
    assert ledger.reserve(Spend(1, 100, 0))
    ledger.settle(Spend(1, 100, 0), Spend(1, 170, 0))
    lease = ledger.next_lease()
    assert lease is not None
    assert lease.tokens == 170
    assert BudgetLedger(Budget(tokens=100), lease).judge(Spend(1, 1, 0)) == "never"


class HardBudget(RuleBasedStateMachine):
    """A run that crashes and goes on, against a far side that bills what it likes up to each attempt's ceiling."""

    @initialize(
        usd=st.none() | st.integers(1, 400),
        tokens=st.none() | st.integers(1, 4000),
        calls=st.integers(1, 60),
    )
    def start(self, usd: int | None, tokens: int | None, calls: int) -> None:
        self.budget = Budget(usd=None if usd is None else usd / 10**6, tokens=tokens, calls=calls)
        self.pricing = Pricing(Price(0.5, 2.0))
        self.durable = NOTHING
        self.pending: Spend | None = None
        self.flying: list[tuple[Spend, Spend]] = []
        self.bill = NOTHING
        self.restart()

    def restart(self) -> None:
        self.ledger = BudgetLedger(self.budget, self.durable)
        self.flying = []
        self.pending = None

    @rule(size=st.integers(1, 120), output=st.integers(0, 60), share=st.floats(0, 1))
    def send(self, size: int, output: int, share: float) -> None:
        """Reserve and send at once; the far side bills its share on arrival, told or not."""
        ceiling = self.pricing.ceiling(Request("https://api.example", {}, b"x" * size, output))
        if not self.ledger.reserve(ceiling):
            if self.pending is None and self.ledger.judge(ceiling) == "lease":
                self.pending = self.ledger.next_lease(ceiling)
                assert self.pending is not None, "a reservation that waits for a lease gets one"
            return
        cost = self.pricing.cost(Usage(math.floor(size * share), math.floor(output * share)))
        self.flying.append((ceiling, cost))
        self.bill = self.bill.plus(cost)

    @rule()
    def ask_for_a_lease(self) -> None:
        if self.pending is None:
            self.pending = self.ledger.next_lease()

    @precondition(lambda self: self.pending is not None)
    @rule()
    def lease_is_durable(self) -> None:
        assert self.pending is not None
        self.durable = self.pending
        self.ledger.widen(self.pending)
        self.pending = None

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), told=st.booleans())
    def settle(self, data: Any, told: bool) -> None:
        ceiling, cost = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.ledger.settle(ceiling, cost if told else None)

    @rule(size=st.integers(1, 120))
    def reserve_and_withdraw(self, size: int) -> None:
        ceiling = self.pricing.ceiling(Request("https://api.example", {}, b"x" * size, 1))
        if self.ledger.reserve(ceiling):
            self.ledger.release(ceiling)

    @rule(committed=st.booleans())
    def crash(self, committed: bool) -> None:
        """A lease on its way to the disk may have arrived or not."""
        if committed and self.pending is not None:
            self.durable = self.pending
        self.restart()

    @precondition(lambda self: not self.flying and self.pending is None)
    @rule()
    def stop_cleanly(self) -> None:
        self.durable = self.ledger.final_lease()
        self.restart()

    @invariant()
    def the_bill_is_covered(self) -> None:
        if not hasattr(self, "ledger"):
            return
        cap = self.ledger.cap
        assert self.bill.fits(cap), "the far side never bills more than the budget"
        assert self.ledger.spent.plus(self.ledger.reserved).fits(cap)
        for bound, billed, durable in zip(cap.measures, self.bill.measures, self.durable.measures, strict=True):
            if bound < 1 << 62:
                assert billed <= durable <= bound, "what is billed was leased before, durably, within the budget"


TestHardBudget = HardBudget.TestCase
TestHardBudget.settings = settings(max_examples=80, stateful_step_count=60)
