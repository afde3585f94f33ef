"""A transport without a network: replies from a list or a function, every request kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from tidemill.calls.wire import AttemptTimeoutError, Request, Response, Usage
from tidemill.testing.delivery import Delivery
from tidemill.testing.formats.exchange import Exchange
from tidemill.testing.formats.openai import OpenAiChat
from tidemill.testing.tool_calls import ToolCalls


class _Stall:
    def __repr__(self) -> str:
        return "STALL"


STALL: Final = _Stall()
"""A reply that never comes: the attempt ends at its time limit."""

DEFAULT_USAGE: Final = Usage(input_tokens=10, output_tokens=5)

Reply = Response | Exception | _Stall


class ScriptedTransport:
    """A `Transport` that answers from a script: an iterable of replies in turn, or a function of the request.

    A reply is a `Response`, an exception to raise, or `STALL`. Time is the loop's, so that `latency_s` and time
    limits cost nothing under `run_virtual`. Belongs to one loop.

    Attributes:
        requests: every request sent, in order.
        in_flight: requests sent and not yet answered.
        max_in_flight: the most that were in flight at one time.
        is_closed: whether `close` was called.
    """

    def __init__(self, replies: Iterable[Reply] | Callable[[Request], Reply], *, latency_s: float = 0.0) -> None:
        self._replies: Iterator[Reply] | None = None
        if callable(replies):
            self._choose = replies
        else:
            self._replies = iter(replies)
            self._choose = self._next
        self.latency_s = latency_s
        self.requests: list[Request] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.is_closed = False

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The script's next reply.

        Raises:
            AttemptTimeoutError: the reply is `STALL`, or `latency_s` is more than `timeout_s`.
            AssertionError: the script is over, or the transport is closed.
        """
        assert not self.is_closed, "the transport is closed"
        self.requests.append(request)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            reply = self._choose(request)
            wait_s = timeout_s if reply is STALL else min(self.latency_s, timeout_s)
            await asyncio.sleep(wait_s)
            if isinstance(reply, _Stall) or self.latency_s > timeout_s:
                raise AttemptTimeoutError(f"no reply within {timeout_s:g} s", where=request.url)
            if isinstance(reply, Exception):
                raise reply
            return reply
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        """Refuse every later request."""
        self.is_closed = True

    def _next(self, request: Request) -> Reply:
        assert self._replies is not None
        try:
            return next(self._replies)
        except StopIteration:
            raise AssertionError(
                f"the script has {len(self.requests) - 1} replies, and one more request came, to {request.url}"
            ) from None


def chat_response(
    content: str,
    *,
    tool_calls: Sequence[tuple[str, Mapping[str, Any] | str]] = (),
    usage: Usage | None = DEFAULT_USAGE,
    finish_reason: str = "",
    status: int = 200,
) -> Response:
    """A chat completion with `content`, and the calls that it asks for; its ids follow from both.

    Args:
        tool_calls: pairs of a name and arguments, as `ToolCalls` takes them.
        usage: None for one that does not tell what it used.
        finish_reason: `stop`, or `tool_calls` with some, where none is given.
    """
    told = ToolCalls(*tool_calls, text=content) if tool_calls else content
    digest = hashlib.sha256(
        f"{content}{told.calls}".encode() if isinstance(told, ToolCalls) else content.encode()
    ).digest()
    exchange = Exchange(digest, {"model": "scripted"}, usage, Delivery())
    body = OpenAiChat().render_reply(exchange, [told], finish_reason)
    return Response(status, {"content-type": "application/json"}, body)


def error_response(
    status: int, message: str = "scripted error", *, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as OpenAI words them; `headers` with lower-case names, `{"retry-after": "2"}` say."""
    body = orjson.dumps({"error": {"message": message, "type": "scripted", "code": status}})
    return Response(status, {"content-type": "application/json", **(headers or {})}, body)
