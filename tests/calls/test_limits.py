import pytest
from pydantic import BaseModel, ValidationError

from tidemill.calls.limits import Budget, Limits, Price
from tidemill.errors import ConfigError


def test_limits_have_defaults_for_every_bound() -> None:
    """Limits() alone is usable: 64 in flight, five attempts, two minutes each, ten minutes in all."""
    limits = Limits()
    assert limits.concurrency.is_auto
    assert (limits.slots, limits.max_attempts, limits.requests_per_minute) == (512, 5, None)
    assert (limits.attempt_timeout_s, limits.deadline_s, limits.outage_s, limits.connect_s) == (120, 600, 300, 5)


@pytest.mark.parametrize(
    "field", ["concurrency", "requests_per_minute", "max_attempts", "attempt_timeout_s", "deadline_s", "outage_s"]
)
def test_a_limit_of_zero_is_refused(field: str) -> None:
    """No limit can be set so that nothing could ever be sent."""
    with pytest.raises(ConfigError, match=field):
        Limits(**{field: 0})


def test_a_price_takes_its_rates_by_place_or_by_name() -> None:
    """Price(0.15, 0.60) is Price(input=0.15, output=0.60), and what a job file's mapping gives."""
    assert Price(0.15, 0.60) == Price(input=0.15, output=0.60) == Price.model_validate({"input": 0.15, "output": 0.6})
    with pytest.raises(TypeError, match="input and an output rate, got 3"):
        Price(1, 2, 3)
    with pytest.raises(ConfigError, match="output"):
        Price(1)
    with pytest.raises(ConfigError, match="unknown key `cached`"):
        Price(1, 2, cached=3)


def test_a_price_within_a_model_is_told_with_the_rest() -> None:
    """As a part of another model its problems are among that model's."""

    class Held(BaseModel):
        price: Price

    with pytest.raises(ValidationError, match=r"price\.output\n"):
        Held(price={"input": 1})
    assert Held(price={"input": 1, "output": 2}).price == Price(1, 2)


def test_token_rates_are_exact_and_never_below_the_price() -> None:
    """Rates are whole pico-dollars; a price too fine for them is rounded up."""
    assert Price(0.15, 0.60).token_rates() == (150_000, 600_000, 150_000, 150_000)
    assert Price(0.1, 1.1).token_rates() == (100_000, 1_100_000, 100_000, 100_000)
    assert Price(1e-7, 0).token_rates() == (1, 0, 1, 1)
    assert Price(3, 15, cached_input=0.3, cache_write=3.75).token_rates() == (3_000_000, 15_000_000, 300_000, 3_750_000)


@pytest.mark.parametrize(
    ("concurrency", "rate", "bounds"),
    [
        ("auto", None, (1, 16, 512)),
        ("auto", 60, (1, 16, 512)),
        ("auto", 6_000, (1, 100, 800)),
        ("auto", 60_000, (1, 1_000, 2_000)),
        ("auto", 600_000, (1, 2_000, 2_000)),
        (32, 60_000, (32, 32, 32)),
        ({"max": 64}, 60_000, (1, 16, 64)),
    ],
)
def test_auto_goes_as_far_as_a_known_rate_needs(
    concurrency: object, rate: int | None, bounds: tuple[int, int, int]
) -> None:
    """It starts with what a second of it sends; what is given in numbers stays as it is."""
    limits = Limits.model_validate({"concurrency": concurrency, "requests_per_minute": rate})
    assert tuple(limits.to_range()) == bounds
    assert limits.slots == bounds[2]


def test_a_budget_bounds_something() -> None:
    """An empty budget is a mistake, not a budget without bounds."""
    with pytest.raises(ConfigError, match="at least one of usd, tokens, calls and deadline"):
        Budget()
    with pytest.raises(ConfigError, match="`usd`: expected a number > 0"):
        Budget(usd=0)
