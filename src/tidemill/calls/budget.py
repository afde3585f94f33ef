"""The hard budget: what may still be spent, decided before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, NamedTuple

from tidemill.calls.limits import PICO_USD_PER_USD, Budget, Price, TokenRates
from tidemill.calls.wire import Request, Usage
from tidemill.config.words import plain
from tidemill.errors import BudgetError, ConfigError

_UNBOUNDED = 1 << 62

SLACK_SHARE = 1000
"""The slack of a lease is at least this part of the budget, so that few calls in flight do not mean many leases."""


class Spend(NamedTuple):
    """An amount in all three measures, exact: requests sent, tokens both ways, pico-dollars."""

    calls: int = 0
    tokens: int = 0
    pico_usd: int = 0

    @property
    def usd(self) -> float:
        """US dollars."""
        return self.pico_usd / PICO_USD_PER_USD

    def plus(self, other: Spend) -> Spend:
        """The sum."""
        return Spend(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def minus(self, other: Spend) -> Spend:
        """The difference."""
        return Spend(self[0] - other[0], self[1] - other[1], self[2] - other[2])

    def widen(self, other: Spend) -> Spend:
        """In each measure the larger of the two."""
        return Spend(max(self[0], other[0]), max(self[1], other[1]), max(self[2], other[2]))

    def fits(self, bound: Spend) -> bool:
        """Whether no measure is above `bound`'s."""
        return self[0] <= bound[0] and self[1] <= bound[1] and self[2] <= bound[2]

    def to_dict(self) -> dict[str, int]:
        """JSON."""
        return self._asdict()

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
        input_tokens, output_tokens, cached, written, _ = usage
        if not is_priced:
            return Spend(1, input_tokens + output_tokens, 0)
        rates = self._rates if input_tokens <= self._above else self._long
        cost = input_tokens * rates.input + output_tokens * rates.output
        if cached or written:
            cost += cached * (rates.cached_input - rates.input) + written * (rates.cache_write - rates.input)
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
        "_settled",
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
        self._settled = list(spent)  # calls, tokens, pico-dollars
        self._calls, self._tokens, self._pico_usd = spent  # spent and reserved: three numbers, moved with every call
        self._open = 0
        self.overrun = NOTHING
        self._bound = self._mark = NOTHING
        self.widen(spent if durable else self.cap)

    @property
    def spent(self) -> Spend:
        """What attempts that ended have cost."""
        return Spend(*self._settled)

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
        calls, tokens, pico_usd = ceiling
        calls += self._calls
        tokens += self._tokens
        pico_usd += self._pico_usd
        bound = self._bound
        if self.overrun is not NOTHING:
            if not self._expect(ceiling).fits(bound):
                return False
        elif calls > bound[0] or tokens > bound[1] or pico_usd > bound[2]:
            return False
        self._calls, self._tokens, self._pico_usd = calls, tokens, pico_usd
        self._open += 1
        mark = self._mark
        if calls > mark[0] or tokens > mark[1] or pico_usd > mark[2]:
            self.is_low = True
        return True

    def settle(self, ceiling: Spend, cost: Spend | None) -> None:
        """An attempt ended: its reported cost replaces its ceiling, an unknown one counts whole."""
        if cost is None:
            cost = ceiling if self.overrun is NOTHING else ceiling.plus(self.overrun)
        calls, tokens, pico_usd = cost
        if cost is not ceiling:
            self._calls += calls - ceiling[0]
            self._tokens += tokens - ceiling[1]
            self._pico_usd += pico_usd - ceiling[2]
            if tokens > ceiling[1] or pico_usd > ceiling[2]:
                self.overrun = self.overrun.widen(cost.minus(ceiling))
                self.is_low = True
        settled = self._settled
        settled[0] += calls
        settled[1] += tokens
        settled[2] += pico_usd
        self._open -= 1

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
        if waiting is NOTHING and self._calls <= mark[0] and self._tokens <= mark[1] and self._pico_usd <= mark[2]:
            return None
        wanted = self._expect(waiting)
        busy = wanted.minus(self.spent)
        lease = Spend(
            *(
                max(held, used, min(cap, want + max(flying, 0 if cap == _UNBOUNDED else cap // SLACK_SHARE)))
                for held, used, cap, want, flying in zip(self.lease, self._used, self.cap, wanted, busy, strict=True)
            )
        )
        return None if lease.fits(self._bound) else lease

    def widen(self, lease: Spend) -> None:
        """`lease` is durable."""
        self.lease = lease
        self.is_low = False
        self._bound = Spend(
            *(_UNBOUNDED if cap == _UNBOUNDED else amount for cap, amount in zip(self.cap, lease, strict=True))
        )
        self._mark = Spend(
            *(
                bound if bound >= cap else (bound + used) // 2
                for bound, cap, used in zip(self._bound, self.cap, self._used, strict=True)
            )
        )

    def final_lease(self) -> Spend:
        """The lease to make durable at a clean stop: nothing is left to chance then."""
        return self._used

    def refusal(self, ceiling: Spend) -> BudgetError:
        """The error for a reservation that can never fit."""
        used, cap = self._expect(ceiling), self.cap
        scales = {"calls": 1, "tokens": 1, "usd": PICO_USD_PER_USD}
        texts, fields = [], []
        for i, (name, scale) in enumerate(scales.items()):
            if used[i] > cap[i]:
                spent, bound = plain(self.spent[i] / scale, digits=10), plain(cap[i] / scale, digits=10)
                needed = plain(ceiling[i] / scale, digits=6)
                texts.append(f"{name}: {spent} of {bound} spent, the next call may take {needed}")
                fields.append(f"budget.{name}")
        return BudgetError(
            f"the budget allows no further call ({'; '.join(texts)})",
            hint=f"what is finished is kept; go on with a higher {' and '.join(fields)}",
        )
