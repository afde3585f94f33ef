"""`HeldAttempts`: the attempts of one call of a model, held against the budgets of a run of an agent."""

from __future__ import annotations

from tidemill.agents.running.purse import Purse
from tidemill.calls.budget import Pricing, Spend
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request, Response, Usage


class HeldAttempts:
    """Attempts of one call. Belongs to one loop.

    Args:
        purse: what may be spent.
        pricing: what the call costs.
        send: makes an attempt.

    Attributes:
        was_sent: whether one was made.
    """

    def __init__(self, purse: Purse, pricing: Pricing, send: Send) -> None:
        self._purse = purse
        self._pricing = pricing
        self._send = send
        self._ceiling: Spend | None = None

    @property
    def was_sent(self) -> bool:
        return self._ceiling is not None

    async def send(self, request: Request, timeout_s: float) -> Response:
        """One attempt: what a transport's `send` is to a request.

        Raises:
            Spent: a budget has no room for it.
            Exception: what sending it raised.
        """
        self._ceiling = ceiling = self._purse.reserve(request, self._pricing)
        try:
            response = await self._send(request, timeout_s)
        except BaseException as exc:
            self._purse.fail(ceiling, exc)
            raise
        if not 200 <= response.status < 300:  # nothing is computed for a refusal; of a server's error nobody knows
            self._purse.refuse(ceiling, response.status)
        return response

    def settle(self, usage: Usage | None) -> None:
        """The last attempt was answered; of unknown usage it counts whole. Nothing, where none was made."""
        if self._ceiling is not None:
            self._purse.settle(self._ceiling, self._pricing, usage)
