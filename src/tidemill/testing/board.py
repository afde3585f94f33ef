"""What the connections of one fault server share: the plan, the counters, and the answer to each chat request."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import orjson

from tidemill.errors import DataError
from tidemill.testing.plan import ERROR_KINDS, Call, Fault, Faults, last_message
from tidemill.testing.replies import WORDS, Tokens, compile_schema, count_tokens, render_completion

T = TypeVar("T")

Reply = Callable[[Call], str]
"""The content of a good reply, as a function of the request."""

MAX_SCHEMAS = 256
COUNTS = (
    "requests",
    "billed",
    "in_flight",
    "max_in_flight",
    "input_tokens",
    "output_tokens",
    "connections",
    "strays",
)

_CREDENTIAL_HEADERS = ("authorization", "api-key", "x-api-key")
_REASONS = {200: b"OK", 307: b"Temporary Redirect", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found"}
_ANY_OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class Answer(NamedTuple):
    """What a connection does for one request: send `data` after `delay_s`; None is no byte, for ever.

    With `close` the connection ends behind the data; with `trickle_s` a byte follows every so many seconds.
    """

    data: bytes | None
    delay_s: float = 0.0
    close: bool = False
    trickle_s: float | None = None


TRICKLED_BYTES = 1 << 20
"""What a trickled reply announces: little enough for any limit, and never reached at a byte a second."""


@dataclass
class Counters:
    """What the server saw; `received` and `unbilled` count chat requests by the digest of their body."""

    requests: int = 0
    billed: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    connections: int = 0
    strays: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    received: dict[bytes, int] = field(default_factory=dict)
    unbilled: dict[bytes, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def billed_bodies(self) -> dict[str, int]:
        """Billed calls by the SHA-256 of their body."""
        bodies = ((digest.hex(), times - self.unbilled.get(digest, 0)) for digest, times in self.received.items())
        return {digest: times for digest, times in bodies if times}

    def to_json(self, *, bodies: bool = False, log: bool = False) -> bytes:
        """The counters as JSON; with the billed bodies, or the hash of every body kept, in order."""
        told: dict[str, Any] = {name: getattr(self, name) for name in (*COUNTS, "faults")}
        if bodies:
            told["bodies"] = self.billed_bodies()
        if log:
            told["log"] = [call.sha256 for call in self.calls]
        return orjson.dumps(told)


class _OwnError(Exception):
    """A script or a reply function of the test failed."""


class Board:
    """The plan, the counters and the cached schemas of one server.

    Belongs to the server's loop; another thread may read the counters and assign `latency_s` and `faults`.
    """

    def __init__(
        self, *, latency_s: float = 0.0, faults: Faults | None = None, reply: Reply | None = None, keep_calls: bool
    ) -> None:
        self.latency_s = latency_s
        self.faults = faults
        self.reply = reply
        self.keep_calls = keep_calls
        self.counters = Counters()
        self.own_error: Exception | None = None
        self.waiting: dict[Callable[[bytes], None], Callable[[Counters], bool]] = {}
        self._schemas: dict[bytes, Callable[[bytes], Any]] = {}

    def reset(self) -> None:
        """Count from zero; what is in flight stays in flight."""
        in_flight = self.counters.in_flight
        self.counters = Counters(in_flight=in_flight, max_in_flight=in_flight)

    def wait(self, is_reached: Callable[[Counters], bool], answer: Callable[[bytes], None]) -> None:
        """Call `answer` with the counters as soon as `is_reached` says so of them."""
        self.waiting[answer] = is_reached
        self.notify()

    def notify(self) -> None:
        """Answer those whose wait is over."""
        for answer, is_reached in list(self.waiting.items()):
            if is_reached(self.counters):
                del self.waiting[answer]
                answer(render_response(200, self.counters.to_json()))

    def receive(self, path: bytes, head: bytes, body: bytes) -> Answer:
        """Count one chat request as received and in flight; returns what it gets."""
        counters = self.counters
        digest = hashlib.sha256(body).digest()
        times = counters.received.get(digest, 0) + 1
        counters.received[digest] = times
        counters.requests += 1
        counters.in_flight += 1
        counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        call = None
        if self.faults is not None or self.reply is not None or self.keep_calls:
            call = Call(counters.requests, times, path.decode(), parse_headers(head), body)
            if self.keep_calls:
                counters.calls.append(call)
        try:
            answer, tokens = self._answer(digest, body, call)
        except _OwnError as exc:
            answer, tokens = Answer(render_error(500, f"the test's own function failed: {exc}")), None
        except (DataError, ValueError, AttributeError, TypeError) as exc:
            # What the request's author wrote is no chat request, or its schema cannot be served: their 400.
            answer, tokens = Answer(render_error(400, f"not a chat request: {exc}"), self.latency_s), None
        self._bill(digest, tokens)
        if self.waiting:
            self.notify()
        return answer

    def _own(self, function: Callable[[Call], T], call: Call) -> T:
        """What a test's own function says; its first error is kept, to be raised where the test can see it."""
        try:
            return function(call)
        except Exception as exc:
            self.own_error = self.own_error or exc
            raise _OwnError(exc) from exc

    def _bill(self, digest: bytes, tokens: Tokens | None) -> None:
        counters = self.counters
        if tokens is None:
            counters.unbilled[digest] = counters.unbilled.get(digest, 0) + 1
        else:
            counters.billed += 1
            counters.input_tokens += tokens.input
            counters.output_tokens += tokens.output

    def _answer(self, digest: bytes, body: bytes, call: Call | None) -> tuple[Answer, Tokens | None]:
        """The answer, and the tokens it is billed for."""
        payload = orjson.loads(body)
        fault = self._own(self.faults.choose, call) if self.faults is not None and call is not None else None
        if fault is None:
            content = (
                self._content(digest, payload) if call is None or self.reply is None else self._own(self.reply, call)
            )
            tokens = count_tokens(payload, body, content)
            data = render_response(200, render_completion(digest, payload, tokens, content))
            return Answer(data, self.latency_s), tokens
        assert call is not None
        self.counters.faults[fault.kind] = self.counters.faults.get(fault.kind, 0) + 1
        content = self._faulty_content(fault, call, digest, payload)
        tokens = count_tokens(payload, body, content)
        answer = render_fault(fault, call, content, partial(render_completion, digest, payload, tokens))
        return answer._replace(delay_s=self.latency_s + fault.delay_s), tokens if fault.is_billed else None

    def _faulty_content(self, fault: Fault, call: Call, digest: bytes, payload: dict[str, Any]) -> str:
        if fault.content is not None:
            return fault.content
        if fault.kind in ERROR_KINDS:
            return f"fault: {fault.kind}"
        return self._own(self.reply, call) if self.reply is not None else self._content(digest, payload)

    def _content(self, digest: bytes, payload: dict[str, Any]) -> str:
        """Content that conforms to the schema asked for and follows from the body; without one, from the message."""
        wanted = payload.get("response_format")
        if not wanted or wanted.get("type") == "text":
            hashed = hashlib.sha256(last_message(payload).encode()).digest()
            return f"{WORDS[hashed[0] % len(WORDS)]} {WORDS[hashed[1] % len(WORDS)]} {hashed[2:8].hex()}"
        key = orjson.dumps(wanted)
        make = self._schemas.get(key)
        if make is None:
            if len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.clear()
            make = self._schemas[key] = compile_schema(wanted.get("json_schema", {}).get("schema", _ANY_OBJECT))
        return orjson.dumps(make(digest)).decode()


def render_fault(fault: Fault, call: Call, content: str, complete: Callable[..., bytes]) -> Answer:  # noqa: C901 - a case a kind
    """The answer a fault gives; `complete(content, finish_reason)` is the body of a good one."""
    match fault.kind:
        case "stall":
            return Answer(None)
        case "reset":
            return Answer(b"", close=True)
        case "cut":
            body = complete(content)
            return Answer(render_response(200, body)[: -(len(body) // 2)], close=True)
        case "trickle":
            return Answer(render_head(200, TRICKLED_BYTES), trickle_s=fault.interval_s)
        case "status":
            headers = dict(fault.headers)
            if fault.retry_after_s is not None:
                headers["Retry-After"] = f"{fault.retry_after_s:g}"
            return Answer(render_error(fault.status, content, headers=headers))
        case "error":
            return Answer(render_error(200, content, headers=fault.headers))
        case "unauthorized":
            shown = credentials(call)
            echo = {"WWW-Authenticate": f'Bearer realm="{shown}"', "X-Received": shown}
            return Answer(render_error(401, f"Incorrect API key provided: {shown}", headers=echo))
        case "redirect":
            return Answer(render_response(307, b"", {"Location": f"/elsewhere?key={credentials(call)}"}))
        case "garbage":
            return Answer(render_response(200, b"<html>" + content.encode(), fault.headers))
        case "invalid":
            return Answer(render_response(200, complete(spoil(content)), fault.headers))
        case "truncated":
            return Answer(render_response(200, complete(content[: len(content) // 2], "length"), fault.headers))
        case "refusal":
            return Answer(render_response(200, refuse(complete(""), content), fault.headers))
        case "reply":
            return Answer(render_response(200, complete(content), fault.headers))


def refuse(body: bytes, text: str) -> bytes:
    """A completion that says no, as OpenAI does: in a field beside the content."""
    completion = orjson.loads(body)
    completion["choices"][0]["message"].update(content=None, refusal=text)
    return orjson.dumps(completion)


def spoil(content: str) -> str:
    """Content that fails its schema at one path: the first value of an object replaced by one of no likely type."""
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


def parse_headers(head: bytes) -> dict[str, str]:
    """The headers of a request's head, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def render_head(status: int, length: int, headers: Mapping[str, str] = {}) -> bytes:
    """The head of a response whose body is `length` bytes of JSON."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (
        status,
        _REASONS.get(status, b"Fault"),
        extra,
        length,
    )


def render_response(status: int, body: bytes, headers: Mapping[str, str] = {}) -> bytes:
    """A whole response."""
    if status == 200 and not headers:
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    return render_head(status, len(body), headers) + body


def render_error(status: int, message: str, *, headers: Mapping[str, str] = {}) -> bytes:
    """A whole response with an error object, as OpenAI words them."""
    error = {"error": {"message": message, "type": "fault", "code": status}}
    return render_response(status, orjson.dumps(error), headers)
