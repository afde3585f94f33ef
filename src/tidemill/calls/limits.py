"""What a user may bound: how fast calls go out, how long they may take, and what they may cost."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from tidemill.config.durations import Duration
from tidemill.config.model import Config

PICO_USD_PER_USD = 10**12
"""Costs are whole pico-dollars inside: a token at 0.15 USD a million is 150,000 of them, and sums are exact."""


TUNABLE = ("concurrency", "requests_per_minute")
"""The fields of `Limits` that a lane can change while calls go on."""


class Limits(Config):
    """How fast calls to one model go out and how long they may take; times in seconds.

    Attributes:
        concurrency: calls in flight at once (sent, and their result not yet committed).
        requests_per_minute: attempts sent in any 60 s; None for no such limit.
        max_attempts: attempts a call may make that the far side answered badly, late or not to the end. One that
            found no connection, that was answered 429, or that failed while the endpoint's breaker was open, is not
            counted.
        attempt_timeout_s: how long one attempt may take.
        deadline_s: how long a call may take from its first send, retries and back-off included; time that an open
            breaker makes it wait is not counted, which `outage_s` bounds.
        outage_s: how long a breaker may stay open before the failure is the run's; until then calls wait.
        connect_s: how long an endpoint may be unreachable from the first try on before the failure is the run's.
        breaker_failures: calls that fail in a row before the breaker of their endpoint opens.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"concurrency": 16}]})

    concurrency: int = Field(default=64, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    max_attempts: int = Field(default=5, ge=1)
    attempt_timeout_s: float = Field(default=120.0, gt=0)
    deadline_s: float = Field(default=600.0, gt=0)
    outage_s: float = Field(default=300.0, gt=0)
    connect_s: float = Field(default=5.0, gt=0)
    breaker_failures: int = Field(default=5, ge=1)


class Price(Config):
    """What tokens cost, in USD per million: `Price(0.15, 0.60)` or `Price(input=0.15, output=0.60)`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": 0.15, "output": 0.6}]})

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def __init__(self, /, *rates: float, **fields: Any) -> None:
        if len(rates) > 2:
            raise TypeError(f"Price takes an input and an output rate, got {len(rates)} rates")
        super().__init__(**dict(zip(("input", "output"), rates, strict=False)), **fields)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as `Config.__init__`

    def token_rates(self) -> tuple[int, int]:
        """Pico-dollars a token, input and output, rounded up."""
        return _pico_usd_per_token(self.input), _pico_usd_per_token(self.output)


def _pico_usd_per_token(usd_per_million: float) -> int:
    return int((Decimal(str(usd_per_million)) * (PICO_USD_PER_USD // 10**6)).to_integral_value(ROUND_CEILING))


class Budget(Config):
    """What a run may spend at most; every attempt is held against each bound that is set.

    A run that reaches one stops, sealed and resumable.

    Attributes:
        usd: US dollars, by the models' `price`.
        tokens: input and output tokens together.
        calls: requests sent, retries included.
        deadline: how long one sitting may take, in seconds or as `45m` or `2h`: counted by the clock from its start, so
            that going on later has as much time again. Calls in flight then get the grace period, as at Ctrl-C.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"usd": 5}]})

    usd: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    calls: int | None = Field(default=None, gt=0)
    deadline: Duration | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _bounds_something(self) -> Budget:
        if not self.bounds_spending and self.deadline is None:
            raise ValueError("a budget needs at least one of usd, tokens, calls and deadline")
        return self

    @property
    def bounds_spending(self) -> bool:
        """Whether it bounds what calls may come to, and not only how long they go on."""
        return self.usd is not None or self.tokens is not None or self.calls is not None
