"""What a user may bound: how fast calls go out, how long they may take, and what they may cost."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.calls.admission.concurrency import ConcurrencyRange
from tidemill.calls.admission.quota import QuotaRates
from tidemill.config.model import Settings
from tidemill.config.subschemas import JsonSchema, add_form
from tidemill.config.types.durations import Duration
from tidemill.config.wording.words import describe_value

PICO_USD_PER_USD = 10**12
"""Costs are whole pico-dollars inside: a token at 0.15 USD a million is 150,000 of them, and sums are exact."""


MOST = 10_000
"""Calls in flight at most: each has a record in memory and a connection, and no machine here was faster with more."""


class Concurrency(Settings):
    """Calls in flight at once (sent, and their result not yet committed), between two bounds.

    A number alone fixes it. `auto`, which is all defaults, finds out what the far side takes: it starts at `start`,
    grows where it is really used, and shrinks when calls are refused, meet an overload or stand in a queue.

    Attributes:
        min: the fewest it shrinks to.
        start: how many it begins with.
        max: the most it grows to.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [16, "auto", {"min": 4, "start": 32, "max": 2000}]})

    min: int = Field(default=1, ge=1, le=MOST)
    start: int = Field(default=16, ge=1, le=MOST)
    max: int = Field(default=512, ge=1, le=MOST)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        number = {"type": "integer", "minimum": 1, "maximum": MOST}
        return add_form(handler(schema), {"anyOf": [number, {"const": "auto"}]})

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if value == "auto":
            return {}
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if type(value) is int:
            if not 1 <= value <= MOST:
                raise _unfit(f"expected a number of calls from 1 to {MOST:,}, or `auto`, got {{value}}", value)
            return {"min": value, "start": value, "max": value}
        if not isinstance(value, (dict, Concurrency)):
            raise _unfit("expected a number of calls, `auto` or a mapping of min, start and max, got {value}", value)
        if isinstance(value, dict) and "start" not in value:
            low, high = value.get("min", 1), value.get("max", 512)
            if type(low) is int and type(high) is int:
                return {**value, "start": sorted((low, 16, high))[1]}
        return value

    @model_validator(mode="after")
    def _check_order(self) -> Concurrency:
        if not self.min <= self.start <= self.max:
            raise PydanticCustomError(
                "concurrency",
                "expected min <= start <= max, got {min}, {start} and {max}",
                {"min": self.min, "start": self.start, "max": self.max},
            )
        return self

    @model_serializer
    def _to_short(self) -> int | str | dict[str, int]:
        if self.min == self.max:
            return self.max
        return "auto" if self.is_auto else {"min": self.min, "start": self.start, "max": self.max}

    @property
    def is_auto(self) -> bool:
        """Whether it is `auto`."""
        return (self.min, self.start, self.max) == AUTO

    def to_range(self) -> ConcurrencyRange:
        """The bounds as the engine takes them."""
        return ConcurrencyRange(self.min, self.start, self.max)


def _unfit(message: str, value: Any) -> PydanticCustomError:
    return PydanticCustomError("concurrency", message, {"value": describe_value(value)})


AUTO = ConcurrencyRange(1, 16, 512)
"""The bounds of `auto`."""
KNOWN_RATE_S = 8
MOST_SLOTS = 2_000
"""Where the rate is known `auto` goes on to what this many seconds of it send, and to so many at most."""

TUNABLE = (
    "concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
)
"""The fields of `Limits` that may be changed while calls go on."""


class Limits(Settings):
    """How fast calls to one model go out and how long they may take; times in seconds.

    What the far side asks for (`Retry-After`, `x-ratelimit-*`, `anthropic-ratelimit-*`) is obeyed besides.

    Attributes:
        concurrency: calls in flight at once: a number, `auto`, or `{min, start, max}`.
        name: models whose limits have the same name share their requests and tokens per minute, in all runs of this
            process.
        requests_per_minute: attempts sent in any 60 s; None for no such limit.
        tokens_per_minute: their tokens, both ways. A request counts by its estimated tokens, and as what it came to
            once that is known.
        input_tokens_per_minute: their tokens of input, counted so.
        output_tokens_per_minute: their tokens of output, counted so.
        max_attempts: attempts a call may make that the far side answered badly, late or not to the end. One that
            found no connection, that was answered 429, 503 or 529, or that failed while the endpoint's breaker was
            open, is not counted; the last one waits for a verdict while the endpoint has answered nobody.
        attempt_timeout_s: how long one attempt may take.
        deadline_s: how long a call may take from its first send, retries and back-off included; time that an open
            breaker makes it wait is not counted, which `outage_s` bounds.
        outage_s: how long a breaker may stay open before the failure is the run's; until then calls wait.
        connect_s: how long an endpoint may be unreachable from the first try on before the failure is the run's.
        breaker_failures: calls that fail in a row before the breaker of their endpoint opens.
        retry_ratio: retries that each usable answer allows for, so that an outage cannot multiply the load; what goes
            beyond waits. A hundred are free, and one a second. Attempts answered 429 are paced otherwise.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"concurrency": 16}]})

    concurrency: Concurrency = Concurrency()
    name: str | None = Field(default=None, min_length=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    input_tokens_per_minute: int | None = Field(default=None, ge=1)
    output_tokens_per_minute: int | None = Field(default=None, ge=1)
    max_attempts: int = Field(default=5, ge=1)
    attempt_timeout_s: float = Field(default=120.0, gt=0)
    deadline_s: float = Field(default=600.0, gt=0)
    outage_s: float = Field(default=300.0, gt=0)
    connect_s: float = Field(default=5.0, gt=0)
    breaker_failures: int = Field(default=5, ge=1)
    retry_ratio: float = Field(default=0.5, ge=0)

    @property
    def slots(self) -> int:
        """Calls in flight at most, whatever the far side takes."""
        return self.to_range().maximum

    def to_range(self) -> ConcurrencyRange:
        """Between which bounds the calls in flight move.

        `auto` starts with what a known rate sends in a second, and goes as far as it sends in eight: most calls take
        less, and who names a rate says that the far side carries it.
        """
        bounds = self.concurrency.to_range()
        if not self.concurrency.is_auto or self.requests_per_minute is None:
            return bounds
        a_second = self.requests_per_minute // 60
        most = min(max(bounds.maximum, KNOWN_RATE_S * a_second), MOST_SLOTS)
        return ConcurrencyRange(bounds.minimum, min(max(bounds.start, a_second), most), most)

    def to_rates(self) -> QuotaRates:
        """What may go per minute."""
        return QuotaRates(
            self.requests_per_minute,
            self.tokens_per_minute,
            self.input_tokens_per_minute,
            self.output_tokens_per_minute,
        )


class TokenRates(NamedTuple):
    """Pico-dollars a token, each rounded up."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0

    @property
    def top_input(self) -> int:
        """The most a token of input can cost."""
        return max(self.input, self.cached_input, self.cache_write)


class Rates(Settings):
    """USD per million tokens, by what became of them.

    Attributes:
        input: of the input, those neither read from a prompt cache nor written to it.
        output: of the output, reasoning included.
        cached_input: of the input, those read from a prompt cache; as `input` when not given.
        cache_write: of the input, those written to it; as `input` when not given.
    """

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    cache_write: float | None = Field(default=None, ge=0)

    def token_rates(self) -> TokenRates:
        """Pico-dollars a token, each rounded up."""
        rates = (self.input, self.output, self.cached_input, self.cache_write)
        return TokenRates(*(_pico_usd_per_token(self.input if rate is None else rate) for rate in rates))


class LongRates(Rates):
    """USD per million tokens of a request whose input is long.

    Attributes:
        above_tokens: the input, in tokens, above which the whole request is billed at these rates.
    """

    above_tokens: int = Field(ge=1)


class Price(Rates):
    """What tokens cost, in USD per million: `Price(0.15, 0.60)` or `Price(input=0.15, output=0.60)`.

    Attributes:
        long_input: what they cost in a request with a long input, where the provider tells the two apart.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": 0.15, "output": 0.6}]})

    long_input: LongRates | None = None

    def __init__(self, /, *rates: float, **fields: Any) -> None:
        if len(rates) > 2:
            raise TypeError(f"Price takes an input and an output rate, got {len(rates)} rates")
        super().__init__(**dict(zip(("input", "output"), rates, strict=False)), **fields)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as `Config.__init__`


def _pico_usd_per_token(usd_per_million: float) -> int:
    return int((Decimal(str(usd_per_million)) * (PICO_USD_PER_USD // 10**6)).to_integral_value(ROUND_CEILING))


class Budget(Settings):
    """What a run may spend at most; every attempt is held against each bound that is set.

    A run that reaches one stops, sealed and resumable.

    Attributes:
        usd: US dollars, by the models' `price`.
        tokens: input and output tokens together.
        calls: requests sent, retries included.
        deadline: how long one sitting may take, in seconds or as `45m` or `2h`: counted by the clock from its start, so
            that going on later has as much time again. Calls in flight then get the grace period, as at Ctrl-C. Of a
            client: how long after its opening its calls may go on, those in flight included.
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
