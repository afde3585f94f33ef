"""A call whose reply comes piece by piece, through a lane: its text on the way, its reply, the time to first token."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import orjson
import pytest

from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Limits
from tidemill.calls.wire import Request, Response, Usage
from tidemill.errors import PermanentCallError, TransientCallError
from tidemill.models.formats.openai import ChatEndpoint
from tidemill.models.formats.streaming import StreamedCall
from tidemill.models.messages import Reply
from tidemill.models.options import Options
from tidemill.testing import run_virtual

ENDPOINT = ChatEndpoint("http://far/v1", "m", {}, Options(stream=True))
REQUEST = ENDPOINT.build_request([{"role": "user", "content": "Count."}])
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def chunks(*texts: str) -> list[bytes]:
    deltas = [{"role": "assistant"}, *({"content": text} for text in texts)]
    choices: list[dict[str, object]] = [{"choices": [{"delta": delta}]} for delta in deltas]
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}
    return [b"data: " + orjson.dumps(choice) + b"\n\n" for choice in (*choices, last)]


class Trickle:
    """A transport that hands on a body one piece a second, then answers whole; one body or error an attempt."""

    def __init__(self, *attempts: list[bytes] | Exception, hands_on: bool = True) -> None:
        self._attempts: Iterator[list[bytes] | Exception] = iter(attempts)
        self._hands_on = hands_on

    async def send(self, request: Request, timeout_s: float) -> Response:
        pieces = next(self._attempts)
        if isinstance(pieces, Exception):
            raise pieces
        for piece in pieces:
            await asyncio.sleep(1)
            if request.on_chunk is not None and self._hands_on:
                request.on_chunk(piece)
        return Response(200, {}, b"".join(pieces))

    async def close(self) -> None:
        pass


def run(transport: Trickle, texts: list[str] | None = None) -> Reply:
    """The reply to one streamed call through a lane, on the virtual clock."""

    async def main() -> Reply:
        async with Engine(transport, rng=random.Random(7)) as engine:
            lane: Lane = engine.lane("m", limits=Limits(), endpoint="http://far/v1")
            call = StreamedCall(ENDPOINT, transport.send, None if texts is None else texts.append)
            return await lane.call(REQUEST, call.decode, send=call.send)

    return run_virtual(main())


def test_the_text_comes_on_the_way_and_the_reply_at_the_end() -> None:
    texts: list[str] = []
    reply = run(Trickle(chunks("one ", "two")), texts)
    assert texts == ["one ", "two"]
    assert reply == Reply("one two", "stop", Usage(7, 3), first_token_s=2.0)


def test_each_attempt_is_a_stream_of_its_own() -> None:
    """The time is that of the attempt which answered, and nothing of a cut one is in the reply."""
    texts: list[str] = []
    reply = run(Trickle(TransientCallError("cut"), chunks("x", "y")[:2], chunks("one")), texts)
    assert texts == ["x", "one"]
    assert (reply.text, reply.first_token_s) == ("one", 2.0)


def test_a_reply_that_comes_whole_is_taken_too() -> None:
    """From a transport that hands nothing on, and from a server that does not stream."""
    assert run(Trickle(chunks("one"), hands_on=False)) == Reply("one", "stop", Usage(7, 3))
    body = orjson.dumps({"choices": [{"message": {"content": "one"}, "finish_reason": "stop"}], "usage": USAGE})
    assert run(Trickle([body])) == Reply("one", "stop", Usage(7, 3))
    with pytest.raises(PermanentCallError, match="no such model"):
        run(Trickle([orjson.dumps({"error": {"message": "no such model"}})]))
