"""Replies that come as event streams: each piece's text as it comes, the whole reply at the end, in both formats."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.wire import Response, Usage
from tidemill.errors import CallError, PermanentCallError, TransientCallError
from tidemill.models.formats import anthropic, openai
from tidemill.models.formats.anthropic_stream import MessageStream
from tidemill.models.formats.chat_stream import ChatStream
from tidemill.models.messages import Reply


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return b"data: " + orjson.dumps({"object": "chat.completion.chunk", "choices": choices, **fields}) + b"\n\n"


DONE = b"data: [DONE]\n\n"
TOLD = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def chat(*texts: str, reason: str = "stop", usage: dict[str, Any] | None = TOLD) -> bytes:
    """A whole stream as OpenAI sends it: a role, the pieces, the reason, the usage, the end."""
    pieces = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]
    return b"".join([*pieces, chunk({}, reason), chunk(usage=usage), DONE])


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def piece(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def start(**usage: int) -> bytes:
    told = {"input_tokens": 7, "output_tokens": 1, **usage}
    return event("message_start", message={"type": "message", "content": [], "usage": told})


def end(reason: str = "end_turn", output: int = 3, **fields: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, **fields}, usage={"output_tokens": output})


STOP = event("message_stop")


def message(*texts: str) -> bytes:
    """A whole stream as Anthropic sends it."""
    block = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    over = event("content_block_stop", index=0)
    return b"".join([start(), event("ping"), block, *map(piece, texts), over, end(), STOP])


Stream = ChatStream | MessageStream
FORMATS = pytest.mark.parametrize(
    ("open_stream", "render", "reason"), [(ChatStream, chat, "stop"), (MessageStream, message, "end_turn")]
)


@FORMATS
def test_the_pieces_make_the_reply(
    open_stream: Callable[[], Stream], render: Callable[..., bytes], reason: str
) -> None:
    stream = open_stream()
    assert stream.feed(render("Hel", "lo ", "é")) == "Hello é"
    assert stream.reply() == Reply("Hello é", reason, Usage(7, 3))


@given(texts=st.lists(st.text(min_size=1), max_size=4), places=st.lists(st.integers(0, 2000), max_size=6))
def test_any_cut_gives_the_same_reply(texts: list[str], places: list[int]) -> None:
    """And the texts given on the way are the reply's."""
    for stream, render in ((ChatStream(), chat), (MessageStream(), message)):
        try:
            body = render(*texts)
        except TypeError:  # a lone surrogate, which no JSON holds
            return
        bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
        given = [stream.feed(body[a:b]) for a, b in itertools.pairwise(bounds)]
        assert "".join(given) == stream.reply().text == "".join(texts)


@FORMATS
def test_a_stream_read_whole_is_parsed_like_any_body(
    open_stream: Callable[[], Stream], render: Callable[..., bytes], reason: str
) -> None:
    parse = openai.parse_reply if render is chat else anthropic.parse_reply
    assert parse(Response(200, {}, render("a", "b"))) == Reply("ab", reason, Usage(7, 3))


@pytest.mark.parametrize(
    ("stream", "body"),
    [
        (ChatStream(), chat("a")[: -len(chunk({}, "stop") + chunk(usage=TOLD) + DONE)]),
        (ChatStream(), b""),
        (ChatStream(), b": ping\n\n"),
        (MessageStream(), start() + piece("a")),
        (MessageStream(), b""),
    ],
)
def test_a_stream_that_ends_too_soon_is_no_reply(stream: Stream, body: bytes) -> None:
    stream.feed(body)
    with pytest.raises(TransientCallError, match="the stream ended before the reply did"):
        stream.reply()


def test_a_stream_may_end_without_its_last_words() -> None:
    """Not every server sends `[DONE]` or the usage: the budget then counts the call whole."""
    stream = ChatStream()
    stream.feed(chunk({"content": "a"}) + chunk({}, "length"))
    assert stream.reply() == Reply("a", "length")
    assert stream.reply().is_cut
    other = MessageStream()
    other.feed(start() + piece("a") + end("max_tokens"))
    assert other.reply() == Reply("a", "max_tokens", Usage(7, 3))
    assert other.reply().is_cut


@pytest.mark.parametrize(
    ("stream", "body", "kind", "told"),
    [
        (ChatStream(), chunk(error={"message": "busy", "type": "server_error"}), TransientCallError, "busy"),
        (ChatStream(), chunk(error={"message": "upstream", "code": 502}), TransientCallError, "upstream"),
        (ChatStream(), chunk(error={"message": "wrong", "code": 400}), PermanentCallError, "wrong"),
        (ChatStream(), b"data: {garbage\n\n", TransientCallError, "expected a chunk .* got '{garbage'"),
        (ChatStream(), b"data: []\n\n", TransientCallError, "expected a chunk"),
        (ChatStream(), chunk({"content": ["a"]}), TransientCallError, "expected a chunk"),
        (
            MessageStream(),
            start() + event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
            TransientCallError,
            "Overloaded",
        ),
        (
            MessageStream(),
            event("error", error={"type": "invalid_request_error", "message": "no"}),
            PermanentCallError,
            "no",
        ),
        (MessageStream(), b"data: {garbage\n\n", TransientCallError, "expected an event of a message"),
        (MessageStream(), event("content_block_delta"), TransientCallError, "expected an event of a message"),
        (MessageStream(), event("message_delta", delta={"stop_reason": 3}), TransientCallError, "expected an event"),
    ],
)
def test_an_error_on_the_way_is_told_at_the_end(stream: Stream, body: bytes, kind: type[CallError], told: str) -> None:
    """What came before it is no reply, and what comes after it is not looked at."""
    stream.feed(body)
    stream.feed(chat("a") + message("b"))
    with pytest.raises(kind, match=told):
        stream.reply()


def test_refusals_and_reasoning_come_in_pieces_too() -> None:
    stream = ChatStream()
    pieces = [{"reasoning_content": "2 + "}, {"reasoning_content": "2"}, {"refusal": "I "}, {"refusal": "won't"}]
    assert stream.feed(b"".join(map(chunk, pieces)) + chunk({}, "stop") + DONE) == ""
    assert stream.reply() == Reply("", "stop", refusal="I won't", reasoning="2 + 2")
    other = MessageStream()
    thought = event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
    signed = event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"})
    why = {"type": "refusal", "category": "bio", "explanation": None}
    other.feed(start() + thought + signed + end("refusal", stop_details=why) + STOP)
    assert other.reply() == Reply("", "refusal", Usage(7, 3), "bio", "hm")


def test_the_counts_told_last_are_the_message_s() -> None:
    stream = MessageStream()
    stream.feed(start(cache_read_input_tokens=90, cache_creation_input_tokens=3) + piece("a") + end(output=9) + STOP)
    assert stream.reply().usage == Usage(100, 9, 90, 3)


def test_a_key_that_is_repeated_is_masked_in_the_reply() -> None:
    """However it was cut."""
    for stream, body in (
        (ChatStream(["sk-12345"]), chat("sk-", "12345!")),
        (MessageStream(["k-1"]), message("k", "-1!")),
    ):
        stream.feed(body)
        assert stream.reply().text == "***!"


def test_only_the_first_of_several_choices_is_taken() -> None:
    other = b"data: " + orjson.dumps({"choices": [{"index": 1, "delta": {"content": "b"}}]}) + b"\n\n"
    stream = ChatStream()
    assert stream.feed(chunk({"content": "a"}) + other + chunk({}, "stop") + DONE) == "a"
    assert stream.reply().text == "a"
