"""Known prices: which model has one, and when it is used."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

import tidemill as tm
from tidemill.calls.budget import Pricing
from tidemill.calls.limits import LongRates
from tidemill.calls.wire import Usage
from tidemill.models.clients.client import Client
from tidemill.models.model import PROVIDERS, Model, describe_prices
from tidemill.models.prices import PRICES, PRICES_DATE, find_price
from tidemill.testing import ScriptedTransport, chat_response


@pytest.mark.parametrize("name", PRICES)
def test_every_price_makes_sense(name: str) -> None:
    """Output costs no less than input, reading from a cache less, writing to it more; a long input never less."""
    assert name.partition("/")[0] in PROVIDERS
    price = find_price(name)
    assert price is not None
    assert price.output >= price.input or price.output == 0
    assert price.cached_input is None or price.cached_input <= price.input
    assert price.cache_write is None or price.cache_write > price.input
    if price.long_input is not None:
        rates, long = price.token_rates(), price.long_input.token_rates()
        assert all(one <= other for one, other in zip(rates, long, strict=True))


def test_the_table_has_its_day() -> None:
    assert date.fromisoformat(PRICES_DATE) > date(2026, 11, 1)


def test_a_known_model_needs_no_price() -> None:
    model = tm.model("openai/gpt-4.1-mini")
    assert model.price is None
    assert model.lane_price == tm.Price(0.4, 1.6, cached_input=0.1)
    assert tm.model("openai/no-such").lane_price is None


def test_a_price_of_one_s_own_goes_over_the_known_one() -> None:
    assert tm.model("openai/gpt-4.1-mini", price=tm.Price(1, 2)).lane_price == tm.Price(1, 2)


def test_it_can_be_told_which_price_was_used() -> None:
    """The report does, so that no one need guess where its dollars are from."""
    own = tm.model("openai/gpt-4.1-mini", price=tm.Price(1, 2))
    assert describe_prices([tm.model("openai/no-such"), own]) == {
        "openai/gpt-4.1-mini": {"input": 1.0, "output": 2.0, "source": "the model's own"}
    }
    known = describe_prices([tm.model("openai/gpt-4.1-mini")])["openai/gpt-4.1-mini"]
    assert known == {"input": 0.4, "output": 1.6, "cached_input": 0.1, "source": f"known on {PRICES_DATE}"}


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "http://far/v1"},
        {"params": {"service_tier": "priority"}},
        {"params": {"tools": []}},
    ],
)
def test_nothing_is_known_of_what_may_have_another_price(fields: dict[str, object]) -> None:
    """A gateway bills as it likes, and a service tier costs more or less."""
    assert tm.model("openai/gpt-4.1-mini", **fields).lane_price is None  # type: ignore[arg-type]


def test_what_one_request_asks_for_may_change_what_it_costs() -> None:
    """Its tokens are counted, and no dollars; a budget in dollars refuses it. A price of one's own holds."""
    flex: Any = {"max_tokens": 5, "params": {"service_tier": "flex"}}

    def connect() -> ScriptedTransport:
        return ScriptedTransport(lambda request: chat_response("hello", usage=Usage(1_000_000, 0)))

    with Client(Model(model="openai/gpt-4.1-mini", api_key="none"), transport=connect) as client:
        client("a", max_tokens=5)
        client("a", **flex)
        assert (client.calls["usd"], client.calls["input_tokens"]) == (0.4, 2_000_000)
        with (
            client.open(budget=tm.Budget(usd=9)) as held,
            pytest.raises(tm.ConfigError, match="needs the price of every"),
        ):
            held("a", **flex)
        with client.open(budget=tm.Budget(tokens=2_000_000)) as held:
            assert held("a", **flex).text == "hello"
    with Client(Model(model="openai/gpt-4.1-mini", api_key="none", price=tm.Price(1, 2)), transport=connect) as client:
        client("a", **flex)
        assert client.calls["usd"] == 1


def test_writing_to_anthropic_s_cache_is_never_counted_as_plain_input() -> None:
    """A price of one's own need not know of it."""
    model = tm.model("anthropic/claude-x", price=tm.Price(2, 10))
    assert model.lane_price == tm.Price(2, 10, cache_write=2.5)
    own = tm.Price(2, 10, cache_write=4)
    assert tm.model("anthropic/claude-x", price=own).lane_price == own


def test_a_long_input_multiplies_the_rates() -> None:
    price = find_price("openai/gpt-5.4")
    assert price is not None
    assert price.long_input == LongRates(input=5, output=22.5, cached_input=0.5, above_tokens=272_000)
    assert Pricing(price).cost(Usage(272_000, 10)).usd == pytest.approx(0.68 + 0.00015)
    assert Pricing(price).cost(Usage(300_000, 10)).usd == pytest.approx(1.5 + 0.000225)
