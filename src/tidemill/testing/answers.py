"""What a fault server puts on a connection: whole responses, streams, and the ways not to answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Literal, NamedTuple

import orjson

from tidemill.testing.delivery import Delivery
from tidemill.testing.formats.exchange import Exchange, Format
from tidemill.testing.load.admission import Admission
from tidemill.testing.plan import Call, Fault
from tidemill.testing.tool_calls import Content, ToolCalls, halve

Outcome = Literal["good", "refused", "failed"]
"""What became of a request: answered well, refused by a quota or for want of capacity, failed in any other way."""

TRICKLED_BYTES = 1 << 20
"""What a trickled reply announces: little enough for any limit, and never reached at a byte a second."""

NEVER: tuple[float, bytes] = (math.inf, b"")
"""A piece that does not come."""

_PIECE = b" " * 65_536
_REASONS = {
    200: b"OK",
    307: b"Temporary Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    404: b"Not Found",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%bTransfer-Encoding: chunked\r\n\r\n"
_TOKEN_MARKS = (
    b'"delta":{"content":',
    b'"delta":{"refusal":',
    b'"delta":{"tool_calls":',
    b'"text_delta"',
    b'"input_json_delta"',
)
_CREDENTIAL_HEADERS = ("authorization", "api-key", "x-api-key")


class Answer(NamedTuple):
    """What a connection does for one request: send `data` after `delay_s`; None is no byte, for ever.

    Attributes:
        data: the whole response, or where `pieces` follow what comes before them.
        delay_s: from the request received to `data`.
        close: the connection ends behind the answer.
        aborts: it ends with a reset, not in good order.
        pieces: what follows: the seconds that each comes behind the one before it, and its bytes.
        outcome: what becomes of the request when the answer is sent whole.
        held_by: the load that holds the request until then.
    """

    data: bytes | None
    delay_s: float = 0.0
    close: bool = False
    aborts: bool = False
    pieces: Iterator[tuple[float, bytes]] | None = None
    outcome: Outcome = "failed"
    held_by: Admission | None = None


def render_head(status: int, length: int, headers: Mapping[str, str] = {}) -> bytes:
    """The head of a response whose body is `length` bytes of JSON."""
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (
        status,
        _REASONS.get(status, b"Fault"),
        _render_headers(headers),
        length,
    )


def _render_headers(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def render_response(status: int, body: bytes, headers: Mapping[str, str] = {}) -> bytes:
    """A whole response."""
    if status == 200 and not headers:
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    return render_head(status, len(body), headers) + body


def render_error(status: int, message: str) -> bytes:
    """A whole response that says what the server itself does not understand."""
    return render_response(status, orjson.dumps({"error": {"message": message, "type": "fault", "code": status}}))


def make_good(
    form: Format, exchange: Exchange, contents: Sequence[Content], headers: Mapping[str, str] = {}, finish: str = ""
) -> Answer:
    """The answer with `contents`, streamed where the request asks for it."""
    if form.streams and exchange.payload.get("stream"):
        return make_stream(form.render_events(exchange, contents, finish), exchange.delivery, headers)
    return Answer(render_response(200, form.render_reply(exchange, contents, finish), headers), outcome="good")


def make_stream(events: list[bytes], delivery: Delivery, headers: Mapping[str, str] = {}) -> Answer:
    """The answer with server-sent events, each in a chunk of its own, at the pace of `delivery`."""
    head = _STREAM_HEAD % _render_headers(headers)
    token_s = delivery.token_s * delivery.tokens_per_event
    if not token_s:
        return Answer(head + b"".join(map(render_chunk, events)) + b"0\r\n\r\n", outcome="good")
    return Answer(head, pieces=_pace(events, token_s), outcome="good")


def _pace(events: list[bytes], token_s: float) -> Iterator[tuple[float, bytes]]:
    """The events in chunks: those with text `token_s` apart, what stands around them at once."""
    for number, event in enumerate(events):
        yield (token_s if number and is_token(event) else 0.0), render_chunk(event)
    yield 0.0, b"0\r\n\r\n"


def is_token(event: bytes) -> bool:
    """Whether an event brings text, or a piece of a call."""
    return any(mark in event for mark in _TOKEN_MARKS)


def render_chunk(event: bytes) -> bytes:
    """One chunk of a body whose length is not known before."""
    return b"%x\r\n%b\r\n" % (len(event), event)


def make_fault(form: Format, exchange: Exchange, contents: Sequence[Content], call: Call, fault: Fault) -> Answer:
    """The answer a fault gives."""
    content = contents[0] if contents else ""
    if fault.at_ratio is not None and form.streams and exchange.payload.get("stream"):
        answer = _break_stream(form, exchange, contents, fault)
        if answer is not None:
            return answer
    match fault.kind:
        case "reply":
            return make_good(form, exchange, contents, fault.headers)
        case "invalid":
            return make_good(form, exchange, [spoil(each) for each in contents or [""]], fault.headers)
        case "truncated":
            return make_good(form, exchange, [halve(each) for each in contents], fault.headers, "length")
        case "refusal":
            texts = [content if isinstance(content, str) else content.text for content in contents]
            return make_good(form, exchange, texts, fault.headers, "refusal")
        case "cut":
            body = form.render_reply(exchange, contents)
            return Answer(render_response(200, body)[: -(len(body) // 2)], close=True)
        case "garbage":
            return Answer(render_response(200, b"<html>" + str(content).encode(), fault.headers))
        case _:
            return _make_refusal(form, call, fault, f"fault: {fault.kind}" if fault.content is None else fault.content)


def _make_refusal(form: Format, call: Call, fault: Fault, message: str) -> Answer:
    """The answer of a fault that has no reply in it."""
    match fault.kind:
        case "status":
            headers = dict(fault.headers)
            if fault.retry_after_s is not None:
                headers["Retry-After"] = f"{fault.retry_after_s:g}"
            return Answer(render_response(fault.status, form.render_error(fault.status, message), headers))
        case "error":
            return Answer(render_response(200, form.render_error(fault.status, message), fault.headers))
        case "unauthorized":
            shown = credentials(call)
            echo = {"WWW-Authenticate": f'Bearer realm="{shown}"', "X-Received": shown}
            body = form.render_error(401, f"Incorrect API key provided: {shown}")
            return Answer(render_response(401, body, echo))
        case "redirect":
            return Answer(render_response(307, b"", {"Location": f"/elsewhere?key={credentials(call)}"}))
        case "trickle":
            return Answer(render_head(200, TRICKLED_BYTES), pieces=repeat((fault.interval_s, b" ")))
        case "oversized":
            pieces = repeat((0.0, _PIECE), -(-fault.size_bytes // len(_PIECE)))
            return Answer(render_head(200, -(-fault.size_bytes // len(_PIECE)) * len(_PIECE)), pieces=pieces)
        case "reset":
            return Answer(b"", close=True)
        case _:
            return Answer(None)


def _break_stream(form: Format, exchange: Exchange, contents: Sequence[Content], fault: Fault) -> Answer | None:
    """A good stream that breaks on its way; None where the fault is none that comes in the midst."""
    events = form.render_events(exchange, contents)
    place = round(len(events) * (fault.at_ratio or 0.0))
    good = make_stream(events[:place], exchange.delivery, fault.headers)
    pieces = list(good.pieces or ())
    data = good.data or b""
    end = b"0\r\n\r\n"
    if pieces:
        pieces.pop()
    else:
        data = data.removesuffix(end)
    match fault.kind:
        case "cut":
            return Answer(data, pieces=iter(pieces), close=True)
        case "stall":
            return Answer(data, pieces=iter([*pieces, NEVER]))
        case "garbage":
            rest = [b'data: {"id": <html>\n\n', *events[place:]]
        case "error":
            rest = [form.render_error_event(fault.content or "fault: error")]
        case _:
            return None
    return Answer(data, pieces=iter([*pieces, *((0.0, render_chunk(event)) for event in rest), (0.0, end)]))


def spoil(content: Content) -> Content:
    """Content that fails its schema at one path: the first value of an object replaced by one of no likely type.

    Of calls it is the arguments of the first one.
    """
    if isinstance(content, ToolCalls):
        (name, arguments), *others = content.calls
        return ToolCalls((name, _spoil(arguments)), *others, text=content.text)
    return _spoil(content)


def _spoil(content: str) -> str:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content + " {"
    if isinstance(value, dict) and value:
        value[next(iter(value))] = {"not": ["what", "was", "asked"]}
        return orjson.dumps(value).decode()
    return '"not what was asked"'


def credentials(call: Call) -> str:
    """Every credential the request carried, as a careless server would echo them."""
    return " ".join(call.headers[name] for name in _CREDENTIAL_HEADERS if name in call.headers)
