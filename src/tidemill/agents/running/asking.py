"""One call of an agent's model: held against budgets, its reply with what the conversation had gained before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec.structs

from tidemill.agents.opening import Kit, OpenAgent
from tidemill.agents.running.metered import HeldAttempts
from tidemill.agents.running.purse import Purse
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request, Response
from tidemill.models.formats.streaming import StreamedCall
from tidemill.models.messages import Message, Reply
from tidemill.models.steps.lines import StepAsk

OnText = Callable[[str, bool], None]
"""Gets a piece of text, and whether what came before it is void."""


class ModelCall:
    """One call of an agent's model. Each attempt is held against the budgets.

    Args:
        opened: whose model.
        kit: its endpoints.
        is_last: whether it is asked for its answer, without tools.
        gained: the messages that are new since the last reply, and that nothing else keeps.
        purse: what may be spent.
        on_text: gets the reply as it comes, where it is to come piece by piece.
    """

    def __init__(
        self,
        opened: OpenAgent,
        kit: Kit,
        gained: Sequence[Message],
        purse: Purse,
        on_text: OnText | None,
        *,
        is_last: bool,
    ) -> None:
        self._opened = opened
        self._gained = list(gained)
        self._purse = purse
        self._on_text = on_text
        self._tally = kit.last_tally if is_last else kit.tally
        self._overrides: dict[str, Any] | None = {"tool_choice": "none"} if is_last else None
        self._endpoint = kit.endpoint if on_text is None else kit.streamed
        self._has_text = False
        lane = opened.model_line.lane
        self._streamed = None if on_text is None else StreamedCall(self._endpoint, lane.send, self._take_text)
        way: Send = lane.send if self._streamed is None else self._streamed.send
        self._attempts = HeldAttempts(purse, opened.pricing, way)

    def build_request(self, messages: Sequence[Message]) -> Request:
        """The request that asks `messages`."""
        request = self._endpoint.build_request(messages, self._overrides)
        return msgspec.structs.replace(request, tally=self._tally)

    def ask(self, ask: StepAsk, number: int, request: Request) -> Awaitable[Reply]:
        """The reply to `request`, sent or recalled.

        Raises:
            Spent: a budget has no room for it.
            CallError: as the lane raises it.
        """
        send = None if self._purse.is_open and self._streamed is None else self._send
        return ask(self._opened.model_line, number, request, send, self._decode)

    def note_recalled(self, request: Request, reply: Reply) -> None:
        """Count a reply that was not sent for: what it cost before counts in the budgets, too."""
        if not self._attempts.was_sent and not self._purse.is_open:
            ceiling = self._purse.reserve(request, self._opened.pricing)
            self._purse.settle(ceiling, self._opened.pricing, reply.usage)

    async def _send(self, request: Request, timeout_s: float) -> Response:
        if self._on_text is not None and self._has_text:
            self._on_text("", True)
            self._has_text = False
        return await self._attempts.send(request, timeout_s)

    def _decode(self, response: Response) -> Reply:
        parse = self._endpoint.parse_reply if self._streamed is None else self._streamed.decode
        try:
            reply = parse(response)
        except BaseException:
            self._attempts.settle(None)
            raise
        self._attempts.settle(reply.usage)
        return msgspec.structs.replace(reply, asked=self._gained) if self._gained else reply

    def _take_text(self, text: str) -> None:
        assert self._on_text is not None
        self._has_text = True
        self._on_text(text, False)
