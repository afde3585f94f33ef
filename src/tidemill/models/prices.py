"""What well-known models cost at their own provider's standard rates.

Source: the price pages of the providers, as the price list of the `litellm` package 1.110.2 has them (MIT licence).
Left out is what has no one rate: preview models, audio, and names that come to mean another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tidemill.calls.limits import LongRates, Price

PRICES_DATE = "2026-11-26"
"""When the table was made; a price that has changed since is given as the model's own `price`."""

_REPRICED = frozenset({"service_tier", "speed", "inference_geo", "tools", "web_search_options", "plugins"})
"""Fields of a request's body that may change what its tokens cost, or bill something beside them."""


class _Long(NamedTuple):
    """Above so many input tokens the input and output rates are multiplied."""

    above_tokens: int
    input: float
    output: float


_OPENAI_LONG = _Long(272_000, 2, 1.5)
_GEMINI_LONG = _Long(200_000, 2, 1.5)
_HAIKU_LONG = _Long(100_000, 5, 5)

# USD per million tokens: input, output, cached input, cache write, and what a long input does to them.
PRICES: Mapping[str, tuple[Any, ...]] = {
    "openai/gpt-3.5-turbo": (0.5, 1.5),
    "openai/gpt-3.5-turbo-0125": (0.5, 1.5),
    "openai/gpt-4": (30, 60),
    "openai/gpt-4-0613": (30, 60),
    "openai/gpt-4-turbo": (10, 30),
    "openai/gpt-4-turbo-2024-04-09": (10, 30),
    "openai/gpt-4.1": (2, 8, 0.5),
    "openai/gpt-4.1-2025-04-14": (2, 8, 0.5),
    "openai/gpt-4.1-mini": (0.4, 1.6, 0.1),
    "openai/gpt-4.1-mini-2025-04-14": (0.4, 1.6, 0.1),
    "openai/gpt-4.1-nano": (0.1, 0.4, 0.025),
    "openai/gpt-4.1-nano-2025-04-14": (0.1, 0.4, 0.025),
    "openai/gpt-4o": (2.5, 10, 1.25),
    "openai/gpt-4o-2024-05-13": (5, 15),
    "openai/gpt-4o-2024-08-06": (2.5, 10, 1.25),
    "openai/gpt-4o-2024-11-20": (2.5, 10, 1.25),
    "openai/gpt-4o-mini": (0.15, 0.6, 0.075),
    "openai/gpt-4o-mini-2024-07-18": (0.15, 0.6, 0.075),
    "openai/gpt-5": (1.25, 10, 0.125),
    "openai/gpt-5-2025-08-07": (1.25, 10, 0.125),
    "openai/gpt-5-mini": (0.25, 2, 0.025),
    "openai/gpt-5-mini-2025-08-07": (0.25, 2, 0.025),
    "openai/gpt-5-nano": (0.05, 0.4, 0.005),
    "openai/gpt-5-nano-2025-08-07": (0.05, 0.4, 0.005),
    "openai/gpt-5.1": (1.25, 10, 0.125),
    "openai/gpt-5.1-2025-11-13": (1.25, 10, 0.125),
    "openai/gpt-5.2": (1.75, 14, 0.175),
    "openai/gpt-5.2-2025-12-11": (1.75, 14, 0.175),
    "openai/gpt-5.4": (2.5, 15, 0.25, None, _OPENAI_LONG),
    "openai/gpt-5.4-2026-03-05": (2.5, 15, 0.25, None, _OPENAI_LONG),
    "openai/gpt-5.4-mini": (0.75, 4.5, 0.075),
    "openai/gpt-5.4-mini-2026-03-17": (0.75, 4.5, 0.075),
    "openai/gpt-5.4-nano": (0.2, 1.25, 0.02),
    "openai/gpt-5.4-nano-2026-03-17": (0.2, 1.25, 0.02),
    "openai/gpt-5.5": (5, 30, 0.5, None, _OPENAI_LONG),
    "openai/gpt-5.5-2026-04-23": (5, 30, 0.5, None, _OPENAI_LONG),
    "openai/gpt-5.6": (4, 20, 0.4, 5, _OPENAI_LONG),
    "openai/gpt-5.6-luna": (0.2, 1.2, 0.02, 0.25, _OPENAI_LONG),
    "openai/gpt-5.6-sol": (4, 20, 0.4, 5, _OPENAI_LONG),
    "openai/gpt-5.6-terra": (2, 12, 0.2, 2.5, _OPENAI_LONG),
    "openai/gpt-6-astra": (10, 50, 1, 12.5, _OPENAI_LONG),
    "openai/gpt-6-luna": (0.1, 0.5, 0.01, 0.125, _OPENAI_LONG),
    "openai/gpt-6-sol": (2, 10, 0.2, 2.5, _OPENAI_LONG),
    "openai/gpt-6.1-sol": (2, 10, 0.1, 2.5, _OPENAI_LONG),
    "openai/gpt-6.1-terra": (1, 5, 0.05, 1.25, _OPENAI_LONG),
    "openai/o1": (15, 60, 7.5),
    "openai/o1-2024-12-17": (15, 60, 7.5),
    "openai/o3": (2, 8, 0.5),
    "openai/o3-2025-04-16": (2, 8, 0.5),
    "openai/o3-mini": (1.1, 4.4, 0.55),
    "openai/o3-mini-2025-01-31": (1.1, 4.4, 0.55),
    "openai/o4-mini": (1.1, 4.4, 0.275),
    "openai/o4-mini-2025-04-16": (1.1, 4.4, 0.275),
    "openai/text-embedding-3-large": (0.13, 0),
    "openai/text-embedding-3-small": (0.02, 0),
    "openai/text-embedding-ada-002": (0.1, 0),
    "anthropic/claude-fable-5": (10, 50, 1, 12.5),
    "anthropic/claude-fable-5-1": (10, 50, 0.25, 12.5),
    "anthropic/claude-haiku-4-5": (1, 5, 0.1, 1.25),
    "anthropic/claude-haiku-4-5-20251001": (1, 5, 0.1, 1.25),
    "anthropic/claude-haiku-5-5": (0.1, 0.5, 0.01, 0.125, _HAIKU_LONG),
    "anthropic/claude-mythos-5": (10, 50, 1, 12.5),
    "anthropic/claude-mythos-5-1": (10, 50, 0.25, 12.5),
    "anthropic/claude-opus-4-5": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-4-5-20251101": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-4-6": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-4-6-20260205": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-4-7": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-4-7-20260416": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-4-8": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-5": (5, 25, 0.5, 6.25),
    "anthropic/claude-opus-5-5": (4, 20, 0.2, 5),
    "anthropic/claude-sonnet-4-6": (3, 15, 0.3, 3.75),
    "anthropic/claude-sonnet-5": (2, 10, 0.2, 2.5),
    "anthropic/claude-sonnet-5-5": (2, 10, 0.1, 2.5),
    "gemini/gemini-2.5-flash": (0.3, 2.5, 0.03),
    "gemini/gemini-2.5-flash-lite": (0.1, 0.4, 0.01),
    "gemini/gemini-2.5-pro": (1.25, 10, 0.125, None, _GEMINI_LONG),
    "gemini/gemini-3.1-flash-lite": (0.25, 1.5, 0.025),
    "gemini/gemini-3.5-flash": (1.5, 9, 0.15),
    "gemini/gemini-3.5-flash-lite": (0.3, 2.5, 0.03),
    "gemini/gemini-3.6-flash": (0.75, 3.75, 0.075),
    "gemini/gemini-3.7-flash": (0.75, 3.75, 0.075),
    "gemini/gemini-3.8-flash": (0.75, 3.75, 0.075),
    "gemini/gemini-4-argon": (2, 10, 0.1),
    "gemini/gemini-4-hydrogen": (1.5, 7.5, 0.075),
    "gemini/gemini-embedding-001": (0.15, 0),
    "gemini/gemini-embedding-2": (0.2, 0),
    "mistral/codestral-2508": (0.3, 0.9, 0.03),
    "mistral/ministral-14b-2512": (0.2, 0.2, 0.02),
    "mistral/ministral-3b-2512": (0.1, 0.1, 0.01),
    "mistral/ministral-8b-2512": (0.15, 0.15, 0.015),
    "mistral/mistral-large-2512": (0.5, 1.5, 0.05),
    "mistral/mistral-large-3": (0.5, 1.5, 0.05),
    "mistral/mistral-large-4": (0.7, 2.1, 0.07),
    "mistral/mistral-large-4-0": (0.7, 2.1, 0.07),
    "mistral/mistral-medium-2604": (1.5, 7.5, 0.15),
    "mistral/mistral-medium-3-5": (1.5, 7.5, 0.15),
    "mistral/mistral-medium-3.5": (1.5, 7.5, 0.15),
    "mistral/mistral-small-2603": (0.15, 0.6, 0.015),
    "mistral/codestral-embed": (0.15, 0, 0.015),
    "mistral/codestral-embed-2505": (0.15, 0, 0.015),
    "mistral/mistral-embed": (0.1, 0),
    "mistral/mistral-embed-2312": (0.1, 0),
    "deepseek/deepseek-flash": (0.3, 1.2, 0.006),
    "deepseek/deepseek-v4-flash": (0.3, 1.2, 0.006),
    "deepseek/deepseek-v4-pro": (1.32, 3.96, 0.044),
    "groq/openai/gpt-oss-120b": (0.15, 0.6, 0.075),
    "groq/openai/gpt-oss-20b": (0.075, 0.3, 0.0375),
    "groq/qwen/qwen3.8-27b": (0.8, 4),
}


def find_price(name: str, params: Mapping[str, Any] | None = None) -> Price | None:
    """The price of the model called `provider/name` at its provider; None where the table has none.

    Args:
        params: what is put into its requests' bodies: with a field that may change the price there is no telling.
    """
    row = PRICES.get(name)
    if row is None or not _REPRICED.isdisjoint(params or ()):
        return None
    long = row[4] if len(row) > 4 else None
    given = dict(zip(("input", "output", "cached_input", "cache_write"), row, strict=False))
    rates = {field: rate for field, rate in given.items() if rate is not None}
    return Price(**rates, long_input=None if long is None else _lengthen(rates, long))


def _lengthen(rates: Mapping[str, float], long: _Long) -> LongRates:
    return LongRates(
        above_tokens=long.above_tokens,
        **{field: round(rate * (long.output if field == "output" else long.input), 6) for field, rate in rates.items()},
    )
