"""`Spending`: what the model calls of a run came to, those of the runs within it included."""

from __future__ import annotations

from tidemill.calls.budget import Pricing
from tidemill.calls.limits import PICO_USD_PER_USD
from tidemill.calls.wire import Usage
from tidemill.models.messages import Reply


class Spending:
    """Adds up tokens and cost.

    Attributes:
        usage: the tokens so far.
    """

    def __init__(self, above: Spending | None = None) -> None:
        self._above = above
        self.usage = Usage(0, 0)
        self._pico_usd: int | None = 0

    def add(self, reply: Reply, pricing: Pricing, *, is_priced: bool) -> float | None:
        """Count a reply; its cost in USD, None where that is not known."""
        cost = pricing.cost(reply.usage).pico_usd if reply.usage is not None and is_priced else None
        self._add(reply.usage, cost)
        return None if cost is None else cost / PICO_USD_PER_USD

    def recall(self, usage: Usage, cost_usd: float | None) -> None:
        """Count what a run came to that is not gone through again."""
        self._add(usage, None if cost_usd is None else round(cost_usd * PICO_USD_PER_USD))

    @property
    def cost_usd(self) -> float | None:
        """What they cost, None where that is not known of all."""
        return None if self._pico_usd is None else self._pico_usd / PICO_USD_PER_USD

    def _add(self, usage: Usage | None, pico_usd: int | None) -> None:
        if usage is not None:
            self.usage = _add_usage(self.usage, usage)
        self._pico_usd = None if pico_usd is None or self._pico_usd is None else self._pico_usd + pico_usd
        if self._above is not None:
            self._above._add(usage, pico_usd)


def _add_usage(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_tokens + other.cached_tokens,
        one.cache_write_tokens + other.cache_write_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
    )
