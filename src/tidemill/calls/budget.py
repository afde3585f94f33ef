"""The hard budget: what may still be spent, decided before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

import msgspec

from tidemill.calls.limits import PICO_USD_PER_USD, Budget, Price, TokenRates
from tidemill.calls.wire import Request, Usage
from tidemill.config.wording.words import plain
from tidemill.errors import BudgetError, ConfigError

_UNBOUNDED = 1 << 62

SLACK_SHARE = 1000
"""The slack of a lease is at least this part of the budget, so that few calls in flight do not mean many leases."""


class Spend(msgspec.Struct, frozen=True, gc=False):
    """An amount in all three measures, exact: requests sent, tokens both ways, pico-dollars."""

    calls: int = 0
    tokens: int = 0
    pico_usd: int = 0

    @property
    def usd(self) -> float:
        """US dollars."""
        return self.pico_usd / PICO_USD_PER_USD

    @property
    def measures(self) -> tuple[int, int, int]:
        """The three amounts."""
        return self.calls, self.tokens, self.pico_usd

    def plus(self, other: Spend) -> Spend:
        """The sum."""
        return Spend(self.calls + other.calls, self.tokens + other.tokens, self.pico_usd + other.pico_usd)

    def minus(self, other: Spend) -> Spend:
        """The difference."""
        return Spend(self.calls - other.calls, self.tokens - other.tokens, self.pico_usd - other.pico_usd)

    def widen(self, other: Spend) -> Spend:
        """In each measure the larger of the two."""
        return Spend(*map(max, self.measures, other.measures))

    def fits(self, bound: Spend) -> bool:
        """Whether no measure is above `bound`'s."""
        return self.calls <= bound.calls and self.tokens <= bound.tokens and self.pico_usd <= bound.pico_usd

    def to_dict(self) -> dict[str, int]:
        """JSON."""
        return msgspec.structs.asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Spend:
        """What `to_dict` gave."""
        return cls(int(value["calls"]), int(value["tokens"]), int(value["pico_usd"]))


NOTHING = Spend()

Verdict = Literal["lease", "refund", "never"]
"""What a reservation that does not fit waits for: a wider lease, a refund of one in flight, or nothing at all."""


class Pricing:
    """Ceilings and costs at one model's price; without one, dollars stay 0."""

    __slots__ = ("_above", "_long", "_rates", "_top")

    def __init__(self, price: Price | None) -> None:
        self._rates = self._long = TokenRates() if price is None else price.token_rates()
        self._above = _UNBOUNDED
        if price is not None and price.long_input is not None:
            self._long = price.long_input.token_rates()
            self._above = price.long_input.above_tokens
        self._top = self._rates.top_input

    def ceiling(self, request: Request) -> Spend:
        """The most one attempt at `request` can cost.

        Its `max_output_tokens` as output and as input its `max_input_tokens`, else its bytes: a token is at least one
        byte of text. Input is counted as written to a prompt cache, where that costs more.
        """
        input_tokens = len(request.body) if request.max_input_tokens is None else request.max_input_tokens
        output_tokens = request.max_output_tokens or 0
        if not request.is_priced:
            return Spend(1, input_tokens + output_tokens, 0)
        top, output_rate = self._top, self._rates.output
        if input_tokens > self._above:
            top, output_rate = max(top, self._long.top_input), max(output_rate, self._long.output)
        return Spend(1, input_tokens + output_tokens, input_tokens * top + output_tokens * output_rate)

    def cost(self, usage: Usage, *, is_priced: bool = True) -> Spend:
        """What one attempt did cost; one that is not priced costs tokens only."""
        input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
        if not is_priced:
            return Spend(1, input_tokens + output_tokens, 0)
        rates = self._rates if input_tokens <= self._above else self._long
        cost = input_tokens * rates.input + output_tokens * rates.output
        if cached := usage.cached_tokens:
            cost += cached * (rates.cached_input - rates.input)
        if written := usage.cache_write_tokens:
            cost += written * (rates.cache_write - rates.input)
        return Spend(1, input_tokens + output_tokens, cost)


class BudgetLedger:
    """Reservations, what they turned out to cost, and the lease they stay inside; a pure state machine.

    `spent` plus what is reserved never passes `lease`, an amount that its owner has made durable beforehand, and the
    lease never passes the budget. So after a crash the last durable lease, taken for `spent`, covers whatever the
    far side billed. The lease is kept small, since what it holds unspent is what a crash costs. A measure the budget
    leaves open is counted, and not leased.

    A far side that reports more than a request allows (a hidden prompt, thinking beyond `max_tokens`) is believed: it
    counts whole, and from then on the most it ever was is held on top of every reservation, those in flight included.
    So only attempts that were sent before the first such report came can take the bill past the budget.

    Args:
        budget: the bounds.
        spent: what counts as spent already: the last durable lease of this run, nothing for a new one.
        durable: False when no one commits leases (nothing outlives the process): the whole budget is leased.

    Attributes:
        overrun: the most by which an attempt was reported to have passed what its request allows.
        is_low: half of the lease's slack may be gone: it is worth asking for the next.
    """

    __slots__ = (
        "_bound",
        "_calls",
        "_mark",
        "_open",
        "_pico_usd",
        "_spent_calls",
        "_spent_pico_usd",
        "_spent_tokens",
        "_tokens",
        "budget",
        "cap",
        "is_low",
        "lease",
        "overrun",
    )

    def __init__(self, budget: Budget, spent: Spend = NOTHING, *, durable: bool = True) -> None:
        self.budget = budget
        self.cap = Spend(
            _UNBOUNDED if budget.calls is None else budget.calls,
            _UNBOUNDED if budget.tokens is None else budget.tokens,
            _UNBOUNDED if budget.usd is None else int(Decimal(str(budget.usd)) * PICO_USD_PER_USD),
        )
        # Three numbers each, moved with every call: what is spent, and that and what is reserved.
        self._spent_calls, self._spent_tokens, self._spent_pico_usd = spent.measures
        self._calls, self._tokens, self._pico_usd = spent.measures
        # Attempts that may turn out cheaper than what they hold: not executions of tools, which may themselves wait
        # for what they ask models to be paid for.
        self._open = 0
        self.overrun = NOTHING
        self._bound = self._mark = NOTHING
        self.widen(spent if durable else self.cap)

    @property
    def spent(self) -> Spend:
        """What attempts that ended have cost."""
        return Spend(self._spent_calls, self._spent_tokens, self._spent_pico_usd)

    @property
    def _used(self) -> Spend:
        return Spend(self._calls, self._tokens, self._pico_usd)

    @property
    def reserved(self) -> Spend:
        """What the attempts in flight may still cost."""
        return self._used.minus(self.spent)

    def _expect(self, more: Spend) -> Spend:
        """What is spent, reserved and `more`, the overrun on top of each attempt that has yet to tell its cost."""
        attempts = self._open + more.calls
        return Spend(
            self._calls + more.calls,
            self._tokens + more.tokens + attempts * self.overrun.tokens,
            self._pico_usd + more.pico_usd + attempts * self.overrun.pico_usd,
        )

    def check_lane(self, price: Price | None) -> None:
        """Refuse a model that this budget cannot be held against."""
        if self.budget.usd is not None and price is None:
            raise ConfigError("a usd budget needs every model's price", hint="set price, or bound tokens instead")

    def check_request(self, request: Request) -> None:
        """Refuse a request whose cost has no ceiling."""
        if request.max_output_tokens is None and (self.budget.usd is not None or self.budget.tokens is not None):
            raise ConfigError(
                "a usd or tokens budget needs max_tokens, and this request sets none", hint="set max_tokens"
            )
        if not request.is_priced and self.budget.usd is not None:
            raise ConfigError(
                "a usd budget needs the price of every request, and a field of this one's body may change that",
                hint="set the model's price, or bound tokens instead",
            )

    def reserve(self, ceiling: Spend) -> bool:
        """Whether `ceiling` fits under the lease; it is then reserved, until settled, refused or released."""
        calls = self._calls + ceiling.calls
        tokens = self._tokens + ceiling.tokens
        pico_usd = self._pico_usd + ceiling.pico_usd
        mark = self._mark
        if self.overrun is not NOTHING or calls > mark.calls or tokens > mark.tokens or pico_usd > mark.pico_usd:
            if not self._expect(ceiling).fits(self._bound):
                return False
            self.is_low = True
        self._calls, self._tokens, self._pico_usd = calls, tokens, pico_usd
        self._open += ceiling.tokens > 0
        return True

    def settle(self, ceiling: Spend, cost: Spend | None) -> None:
        """An attempt ended: its reported cost replaces its ceiling, an unknown one counts whole."""
        if cost is None:
            cost = ceiling if self.overrun is NOTHING else ceiling.plus(self.overrun)
        calls, tokens, pico_usd = cost.calls, cost.tokens, cost.pico_usd
        more_tokens, more_pico_usd = tokens - ceiling.tokens, pico_usd - ceiling.pico_usd
        if more_tokens > 0 or more_pico_usd > 0:
            self.overrun = self.overrun.widen(cost.minus(ceiling))
            self.is_low = True
        self._calls += calls - ceiling.calls
        self._tokens += more_tokens
        self._pico_usd += more_pico_usd
        self._spent_calls += calls
        self._spent_tokens += tokens
        self._spent_pico_usd += pico_usd
        self._open -= ceiling.tokens > 0

    def refuse(self, ceiling: Spend) -> None:
        """The far side answered that it computed nothing: only the request itself counts."""
        self.settle(ceiling, Spend(calls=ceiling.calls))

    def release(self, ceiling: Spend) -> None:
        """The attempt was never sent: nothing counts."""
        self.settle(ceiling, NOTHING)

    def judge(self, ceiling: Spend) -> Verdict:
        """What a reservation that did not fit has to wait for."""
        if self._expect(ceiling).fits(self.cap):
            return "lease"
        return "refund" if self._open else "never"

    def next_lease(self, waiting: Spend = NOTHING) -> Spend | None:
        """The lease to make durable next, None while this one will do.

        It covers what is spent, reserved and `waiting`, and once more the last two as slack, or a thousandth of the
        budget where that is more; it is asked for once half of the last one's slack is gone, so that hardly anyone
        waits for it.
        """
        mark = self._mark
        if waiting is NOTHING and self._used.fits(mark):
            return None
        wanted = self._expect(waiting)
        busy = wanted.minus(self.spent)
        lease = Spend(
            *(
                max(held, used, min(cap, want + max(flying, 0 if cap == _UNBOUNDED else cap // SLACK_SHARE)))
                for held, used, cap, want, flying in _zip(self.lease, self._used, self.cap, wanted, busy)
            )
        )
        return None if lease.fits(self._bound) else lease

    def widen(self, lease: Spend) -> None:
        """`lease` is durable."""
        self.lease = lease
        self.is_low = False
        self._bound = Spend(*(_UNBOUNDED if cap == _UNBOUNDED else amount for cap, amount in _zip(self.cap, lease)))
        self._mark = Spend(
            *(
                bound if bound >= cap else (bound + used) // 2
                for bound, cap, used in _zip(self._bound, self.cap, self._used)
            )
        )

    def final_lease(self) -> Spend:
        """The lease to make durable at a clean stop: nothing is left to chance then."""
        return self._used

    def refusal(self, ceiling: Spend) -> BudgetError:
        """The error for a reservation that can never fit."""
        scales = {"calls": 1, "tokens": 1, "usd": PICO_USD_PER_USD}
        texts, fields = [], []
        amounts = _zip(self._expect(ceiling), self.cap, self.spent, ceiling)
        for (name, scale), (used, cap, spent, more) in zip(scales.items(), amounts, strict=True):
            if used > cap:
                shown, bound = plain(spent / scale, digits=10), plain(cap / scale, digits=10)
                needed = plain(more / scale, digits=6)
                texts.append(f"{name}: {shown} of {bound} spent, the next call may take {needed}")
                fields.append(f"budget.{name}")
        return BudgetError(
            f"the budget allows no further call ({'; '.join(texts)})",
            hint=f"what is finished is kept; go on with a higher {' and '.join(fields)}",
        )


def _zip(*spends: Spend) -> Iterator[tuple[int, ...]]:
    """Their amounts, measure by measure."""
    return zip(*(spend.measures for spend in spends), strict=True)
