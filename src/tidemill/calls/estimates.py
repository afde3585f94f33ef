"""How many tokens an attempt will come to, before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidemill.calls.quota import Cost
from tidemill.calls.wire import Request, Usage

BYTES_PER_TOKEN: Final = 4.0
"""Of English text in JSON, before anything is learned."""
OUTPUT_TOKENS: Final = 256
"""Of a reply without a ceiling, before anything is learned."""
_WEIGHT: Final = 32


class TokenEstimates:
    """Estimates of one lane's requests, learned from what earlier ones were billed for.

    Args:
        count: gives the input tokens of a request exactly, where the model's vocabulary is on this machine.
    """

    def __init__(self, count: Callable[[Request], int] | None = None) -> None:
        self._count = count
        self._bytes_per_token = BYTES_PER_TOKEN
        self._output = -1.0

    def estimate(self, request: Request) -> Cost:
        """What one attempt is expected to come to."""
        if self._count is not None:
            tokens = self._count(request)
        else:
            tokens = int(len(request.body) / self._bytes_per_token) + 1
        ceiling = request.max_output_tokens
        if self._output < 0:
            output = OUTPUT_TOKENS if ceiling is None else ceiling
        else:
            output = int(self._output + 0.5)
            if ceiling is not None and output > ceiling:
                output = ceiling
        return Cost(tokens, output)

    def learn(self, request: Request, usage: Usage) -> None:
        """A request was billed for this."""
        if usage.input_tokens > 0:
            ratio = len(request.body) / usage.input_tokens
            self._bytes_per_token += (ratio - self._bytes_per_token) / _WEIGHT
        if self._output < 0:
            self._output = float(usage.output_tokens)
        else:
            self._output += (usage.output_tokens - self._output) / _WEIGHT
