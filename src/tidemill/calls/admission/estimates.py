"""How many tokens an attempt will come to, before the far side has counted them: by ratios that learn."""

from __future__ import annotations

from typing import Final

from tidemill.calls.admission.quota import Cost
from tidemill.calls.wire import Request, Usage

BYTES_PER_TOKEN: Final = 4.0
"""What a token of English text is about, by most vocabularies; what is counted before anything is learnt."""
OUTPUT_TOKENS: Final = 256
"""Of a reply without a ceiling, before anything is learnt."""

_KEPT: Final = 1 - 1 / 32
"""How much of what was learnt before stays with each reply: the last hundred decide."""


class Ratio:
    """Tokens a unit, learnt from what calls came to; a pure state machine.

    The exponentially weighted sum of tokens over that of units, so that a large request counts for more than a small
    one, and what all of them come to together is right.

    Args:
        per_unit: what is taken before anything is learnt.
        units: how many units that weighs.

    Attributes:
        per_unit: tokens a unit, now.
        learnt: how many calls it was learnt from.
    """

    __slots__ = ("_tokens", "_units", "learnt", "per_unit")

    def __init__(self, per_unit: float, units: float) -> None:
        self.per_unit = per_unit
        self.learnt = 0
        self._units = units
        self._tokens = per_unit * units

    def learn(self, units: int, tokens: int) -> None:
        """A call of so many units came to so many tokens."""
        if units > 0 and tokens > 0:  # an endpoint that tells 0 does not count
            self._units = self._units * _KEPT + units
            self._tokens = self._tokens * _KEPT + tokens
            self.per_unit = self._tokens / self._units
            self.learnt += 1


class InputCounter:
    """The input tokens of one model's requests, by the bytes of their bodies and a ratio that learns.

    What carries images is counted by the most it can come to, with a ratio of its own. Belongs to one thread.

    Args:
        text: the ratio of tokens to what `measure` gives.
    """

    def __init__(self, text: Ratio | None = None) -> None:
        self._text = text or Ratio(1 / BYTES_PER_TOKEN, 256)
        self._media = Ratio(1.0, 64)

    def measure(self, request: Request) -> int:
        """The units that a request without images is counted in: the bytes of its body."""
        return len(request.body)

    def estimate(self, request: Request) -> int:
        """The input tokens of `request`; at least 1."""
        most = request.max_input_tokens
        if most is not None:
            return min(int(most * self._media.per_unit) + 1, most)
        return int(self.measure(request) * self._text.per_unit + 0.5) or 1

    def learn(self, request: Request, usage: Usage) -> None:
        """The far side counted `usage` for `request`."""
        if request.max_input_tokens is not None:
            self._media.learn(request.max_input_tokens, usage.input_tokens)
        else:
            self._text.learn(self.measure(request), usage.input_tokens)


class TokenEstimates:
    """What one lane's attempts will come to, both ways.

    Args:
        counter: of their input.
    """

    def __init__(self, counter: InputCounter) -> None:
        self._counter = counter
        self._output = Ratio(1.0, 0.0)

    def estimate(self, request: Request) -> Cost:
        """What one attempt is expected to come to; its output is what replies came to lately, at first its ceiling."""
        ceiling = request.max_output_tokens
        if self._output.learnt:
            output = int(self._output.per_unit + 0.5)
            output = output if ceiling is None else min(output, ceiling)
        else:
            output = OUTPUT_TOKENS if ceiling is None else ceiling
        return Cost(self._counter.estimate(request), output)

    def learn(self, request: Request, usage: Usage) -> None:
        """A request was billed for this."""
        self._counter.learn(request, usage)
        self._output.learn(1, usage.output_tokens)
