"""A call whose reply comes piece by piece: how it is sent through a lane, and when its first text came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec.structs

from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request, Response
from tidemill.models.formats.endpoint import Endpoint, ReplyStream
from tidemill.models.formats.sse import is_event_stream
from tidemill.models.messages import Reply


class StreamedCall:
    """One call for `Lane.call(request, call.decode, commit, send=call.send)`, with `stream` among its options.

    Each attempt is a stream of its own, so a retry starts anew. Of one event loop.

    Args:
        endpoint: whose request is sent.
        send: what sends an attempt: a transport's `send`.
        on_text: gets each piece of text as it comes, of failed attempts too; what it raises ends the attempt.
        on_arguments: likewise, of the arguments of tool calls.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        send: Send,
        on_text: Callable[[str], object] | None = None,
        on_arguments: Callable[[str], object] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._send = send
        self._on_text = on_text
        self._on_arguments = on_arguments
        self._stream: ReplyStream | None = None
        self._size = 0
        self._sent_at = 0.0
        self._first_token_s: float | None = None

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The response of one attempt, read whole; its text is handed on meanwhile."""
        self._stream = self._endpoint.open_stream()
        self._size, self._first_token_s = 0, None
        self._sent_at = asyncio.get_running_loop().time()
        return await self._send(msgspec.structs.replace(request, on_chunk=self._take), timeout_s)

    def decode(self, response: Response) -> Reply:
        """The reply of the last attempt, with the time its first text took.

        Raises:
            TransientCallError, PermanentCallError: as `Endpoint.parse_reply`.
        """
        stream, self._stream = self._stream, None
        if stream is not None and self._size == len(response.body) and is_event_stream(response.body):
            reply = stream.reply()
        else:  # a transport that hands nothing on, or a server that answers whole
            reply = self._endpoint.parse_reply(response)
        return msgspec.structs.replace(reply, first_token_s=self._first_token_s)

    def _take(self, chunk: bytes) -> None:
        assert self._stream is not None
        self._size += len(chunk)
        text = self._stream.feed(chunk)
        if self._on_arguments is not None and (arguments := self._stream.take_arguments()):
            self._on_arguments(arguments)
        if not text:
            return
        if self._first_token_s is None:
            self._first_token_s = asyncio.get_running_loop().time() - self._sent_at
        if self._on_text is not None:
            self._on_text(text)
