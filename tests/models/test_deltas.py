"""A reply as it comes: its pieces, its end, and what a failure means before and behind the first of them."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest

import tidemill as tm
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError, Usage
from tidemill.models.clients.client import Client
from tidemill.models.clients.deltas import Deltas
from tidemill.testing import chat_response, error_response

STALL = object()
USAGE = {"prompt_tokens": 9, "completion_tokens": 3}


def chunk(text: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text is not None else {}, "finish_reason": None}
    return b"data: " + orjson.dumps({"choices": [choice | more]}) + b"\n\n"


END = (
    chunk(finish_reason="stop"),
    b"data: " + orjson.dumps({"choices": [], "usage": USAGE}) + b"\n\n",
    b"data: [DONE]\n\n",
)
WHOLE = (chunk("He"), chunk("llo"), chunk(", tide"), *END)

Attempt = Sequence[Any]
"""What one attempt brings, in turn: pieces of the body, `STALL`, an error to raise, or a whole response."""


class Pieces:
    """A transport whose attempts are scripted piece by piece."""

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self.attempts = iter(attempts)
        self.requests: list[Request] = []
        self.ended = threading.Event()

    async def send(self, request: Request, timeout_s: float) -> Response:
        self.requests.append(request)
        body = b""
        try:
            for piece in next(self.attempts):
                await asyncio.sleep(0)
                if isinstance(piece, Response):
                    return piece
                if isinstance(piece, Exception):
                    raise piece
                if piece is STALL:
                    await asyncio.get_running_loop().create_future()
                assert request.on_chunk is not None
                request.on_chunk(piece)
                body += piece
        finally:
            self.ended.set()
        return Response(200, {"content-type": "text/event-stream"}, body)

    async def close(self) -> None:
        pass


Open = Callable[..., tuple[Deltas, Pieces]]


@pytest.fixture
def open_stream() -> Iterator[Open]:
    """Opens the stream of a reply whose attempts are as given, and closes its client in the end."""
    clients: list[Client] = []

    def open_(*attempts: Attempt, **options: Any) -> tuple[Deltas, Pieces]:
        transport = Pieces(attempts)
        model = tm.model("openai/any", base_url="http://far/v1", api_key="none")
        clients.append(Client(model, transport=lambda: transport))
        return clients[-1].stream("hello", **options), transport

    yield open_
    for client in clients:
        client.close()


def test_text_comes_in_pieces_and_the_reply_at_the_end(open_stream: Open) -> None:
    pieces, transport = open_stream(WHOLE, max_tokens=7)
    assert transport.requests == []
    with pytest.raises(tm.StateError, match="the reply has not ended"):
        _ = pieces.reply
    assert "".join(pieces) == "Hello, tide"
    assert (pieces.reply.text, pieces.reply.finish_reason) == ("Hello, tide", "stop")
    assert pieces.reply.usage == Usage(9, 3)
    assert pieces.reply.first_token_s is not None
    assert list(pieces) == []
    asked = orjson.loads(transport.requests[0].body)
    assert (asked["stream"], asked["max_tokens"]) == (True, 7)


async def test_it_can_be_awaited(open_stream: Open) -> None:
    pieces, _ = open_stream(WHOLE)
    assert "".join([piece async for piece in pieces]) == "Hello, tide"
    assert pieces.reply.text == "Hello, tide"


def test_a_piece_is_there_before_the_next_has_come(open_stream: Open) -> None:
    pieces, transport = open_stream([chunk("He"), STALL])
    assert next(pieces) == "He"
    assert not transport.ended.is_set()


@pytest.mark.parametrize(
    "failure",
    [
        [error_response(503)],
        [error_response(429, headers={"retry-after": "0"})],
        [UnreachableError("connection refused")],
        [AttemptTimeoutError("no complete answer within 1 s")],
        [tm.TransientCallError("the connection was cut")],
        [chunk(), tm.TransientCallError("the connection was cut")],
        [b": ping\n\n"],
        [b"garbage"],
    ],
)
def test_a_failure_before_the_first_piece_is_followed_by_another_attempt(open_stream: Open, failure: Attempt) -> None:
    pieces, transport = open_stream(failure, WHOLE)
    assert "".join(pieces) == "Hello, tide"
    assert len(transport.requests) == 2


@pytest.mark.parametrize(
    "failure",
    [
        [tm.TransientCallError("the connection was cut")],
        [AttemptTimeoutError("no complete answer within 1 s")],
        [b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'],
        [],
    ],
)
def test_a_failure_behind_the_first_piece_is_raised(open_stream: Open, failure: Attempt) -> None:
    """What came is given first, and cannot be taken back: no other attempt is made."""
    pieces, transport = open_stream([chunk("He"), chunk("llo"), *failure], WHOLE)
    given: list[str] = []
    with pytest.raises(tm.PermanentCallError, match="the reply broke off after 5 characters: "):
        given.extend(pieces)
    assert "".join(given) == "Hello"
    assert len(transport.requests) == 1
    assert list(pieces) == []
    with pytest.raises(tm.StateError, match="the reply has not ended"):
        _ = pieces.reply


def test_an_error_that_would_come_again_is_raised_as_it_is(open_stream: Open) -> None:
    pieces, transport = open_stream([error_response(400, "too long")])
    with pytest.raises(tm.PermanentCallError, match="too long") as caught:
        next(pieces)
    assert caught.value.status == 400
    assert len(transport.requests) == 1


def test_an_endpoint_that_knows_no_streams_gives_it_in_one_piece(open_stream: Open) -> None:
    pieces, _ = open_stream([chat_response("all at once")])
    assert list(pieces) == ["all at once"]
    assert pieces.reply.first_token_s is None


@pytest.mark.parametrize("how", ["close", "with", "drop"])
def test_closing_cancels_the_call(open_stream: Open, how: str) -> None:
    """By itself, by its `with`, or as it is dropped."""
    pieces, transport = open_stream([chunk("He"), STALL])
    assert next(pieces) == "He"
    if how == "close":
        pieces.close()
        assert list(pieces) == []
    elif how == "with":
        with pieces:
            pass
    del pieces
    gc.collect()
    assert transport.ended.wait(10)
