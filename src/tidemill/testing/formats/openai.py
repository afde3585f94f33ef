"""OpenAI's chat completions.

Source: the API reference of `POST /v1/chat/completions`, its streaming events, and the guide on rate limits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tidemill.calls.wire import Usage
from tidemill.errors import DataError
from tidemill.testing.formats.exchange import Ask, Exchange, count_output, find_told_schema, split_tokens
from tidemill.testing.load.meter import Standing
from tidemill.testing.tool_calls import Content, ToolCalls, check_results

ANY_OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
MAX_SAMPLES = 128

# A status of 200 is a gateway's, which puts a number where OpenAI puts a word.
_ERRORS: dict[int, tuple[str, str | int | None]] = {
    200: ("server_error", 200),
    429: ("requests", "rate_limit_exceeded"),
}
_TOLD_UNITS = ("requests", "tokens")


def count_body(body: bytes) -> int:
    """The input tokens of a request: four bytes to a token."""
    return (len(body) + 3) // 4


class OpenAiErrors:
    """Errors and headers as every endpoint of OpenAI has them."""

    counts_cached = True
    overloaded = 503

    def remember(self, ask: Ask) -> None:
        """What was billed leaves nothing behind."""

    def render_error(self, status: int, message: str) -> bytes:
        kind, code = _ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
        return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def render_error_event(self, message: str) -> bytes:
        return b"data: %b\n\n" % self.render_error(500, message)

    def limit_headers(self, standings: Sequence[Standing], now_epoch: float) -> dict[str, str]:
        headers = {}
        for standing in standings:
            if standing.unit in _TOLD_UNITS:
                headers[f"x-ratelimit-limit-{standing.unit}"] = f"{standing.per_minute:.0f}"
                headers[f"x-ratelimit-remaining-{standing.unit}"] = f"{math.floor(standing.remaining)}"
                headers[f"x-ratelimit-reset-{standing.unit}"] = render_duration(standing.reset_s)
        return headers

    def retry_headers(self, wait_s: float) -> dict[str, str]:
        return {"retry-after": f"{math.ceil(wait_s)}", "retry-after-ms": f"{math.ceil(wait_s * 1000)}"}


class OpenAiChat(OpenAiErrors):
    """`POST …/chat/completions`."""

    streams = True

    def check(self, payload: Any, head: bytes) -> None:
        if not isinstance(payload, dict) or not isinstance(payload.get("messages", []), list):
            raise DataError("expected an object with a list of messages")
        if payload.get("tool_choice") and not payload.get("tools"):
            raise DataError("tool_choice: is only allowed when tools are specified")
        messages = payload.get("messages", ())
        check_results([_read_turn(message) for message in messages])
        for number, message in enumerate(messages):
            parts = message.get("content") if message.get("role") == "tool" else None
            if isinstance(parts, list) and any(part.get("type") != "text" for part in parts):
                raise DataError(f"messages.{number}: a message of the role `tool` has parts of the type `text` alone")

    def find_schema(self, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        wanted = payload.get("response_format")
        if not wanted or wanted.get("type") == "text":
            told = (each for each in payload.get("messages") or () if each.get("role") == "system")
            return find_told_schema(str(each.get("content")) for each in told)
        schema: Mapping[str, Any] = wanted.get("json_schema", {}).get("schema", ANY_OBJECT)
        return schema

    def find_tool(self, payload: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
        choice = payload.get("tool_choice")
        named = choice["function"]["name"] if isinstance(choice, dict) else None
        tools = [tool["function"] for tool in payload.get("tools") or () if tool.get("type") == "function"]
        wanted = [tool for tool in tools if choice == "required" or tool["name"] == named]
        return (wanted[0]["name"], wanted[0].get("parameters") or ANY_OBJECT) if wanted else None

    def count_samples(self, payload: Mapping[str, Any]) -> int:
        samples = payload.get("n") or 1
        if type(samples) is not int or not 0 < samples <= MAX_SAMPLES:
            raise DataError(f"n is from 1 to {MAX_SAMPLES}, got {samples!r}")
        return samples

    def find_ceiling(self, payload: Mapping[str, Any]) -> int | None:
        ceiling: int | None = payload.get("max_completion_tokens") or payload.get("max_tokens")
        return ceiling

    def count_usage(self, ask: Ask, contents: Sequence[Content]) -> Usage:
        input_tokens, delivery = count_body(ask.body), ask.delivery
        output = count_output(contents, self.find_ceiling(ask.payload), delivery.reasoning_tokens)
        cached = int(input_tokens * delivery.cached_ratio)
        return Usage(input_tokens, output, cached, 0, min(output, delivery.reasoning_tokens))

    def render_reply(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> bytes:
        first = contents[0] if len(contents) == 1 else None
        if isinstance(first, str) and finish != "refusal":
            choices = _CHOICE % (0, orjson.dumps(first), (finish or "stop").encode())
        else:
            numbered = enumerate(contents)
            choices = b",".join(_render_choice(index, each, finish, exchange.digest) for index, each in numbered)
        usage = exchange.usage
        return b'{"id":"chatcmpl-%b","object":"chat.completion","created":1700000000,"model":%b,"choices":[%b]%b}' % (
            exchange.digest[:12].hex().encode(),
            orjson.dumps(exchange.payload.get("model")),
            choices,
            b"" if usage is None else b',"usage":' + render_usage(usage),
        )

    def render_events(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> list[bytes]:
        asked = (exchange.payload.get("stream_options") or {}).get("include_usage", False)
        usage = exchange.usage if asked else None
        head = b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":1700000000,"model":%b,' % (
            exchange.digest[:12].hex().encode(),
            orjson.dumps(exchange.payload.get("model")),
        )
        tail = b',"usage":null}\n\n' if usage is not None else b"}\n\n"
        deltas = _make_deltas(contents, exchange, finish)
        events = [head + b'"choices":[%b]' % orjson.dumps(delta) + tail for delta in deltas]
        if usage is not None:
            events.append(head + b'"choices":[],"usage":%b}\n\n' % render_usage(usage))
        events.append(b"data: [DONE]\n\n")
        return events


_CHOICE = b'{"index":%d,"message":{"role":"assistant","content":%b},"finish_reason":"%b"}'


def _render_choice(index: int, content: Content, finish: str, digest: bytes) -> bytes:
    if isinstance(content, ToolCalls):
        calls = _render_calls(content, vary(digest, index))
        message = {"role": "assistant", "content": content.text or None, "tool_calls": calls}
        return orjson.dumps({"index": index, "message": message, "finish_reason": finish or "tool_calls"})
    if finish != "refusal":
        return _CHOICE % (index, orjson.dumps(content), (finish or "stop").encode())
    message = {"role": "assistant", "content": None, "refusal": content}
    return orjson.dumps({"index": index, "message": message, "finish_reason": "stop"})


def _render_calls(content: ToolCalls, digest: bytes) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{identity}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for identity, (name, arguments) in zip(content.identify(digest), content.calls, strict=True)
    ]


def _make_deltas(contents: Sequence[Content], exchange: Exchange, finish: str) -> list[dict[str, Any]]:
    """The choices of the events in order: the roles, what each choice says and calls, the reasons why they end."""
    field, tokens = "refusal" if finish == "refusal" else "content", exchange.delivery.tokens_per_event
    first: list[tuple[int, dict[str, Any], str | None]] = []
    pieces: list[tuple[int, dict[str, Any], str | None]] = []
    last: list[tuple[int, dict[str, Any], str | None]] = []
    for index, content in enumerate(contents):
        first.append((index, {"role": "assistant", "content": ""}, None))
        reason = finish if finish not in ("", "refusal") else "stop"
        if isinstance(content, ToolCalls):
            calls = _render_calls(content, vary(exchange.digest, index))
            texts = split_tokens(content.text, tokens) if content.text else []
            deltas = [{field: text} for text in texts] + list(_split_calls(calls, tokens))
            reason = finish or "tool_calls"
        else:
            deltas = [{field: text} for text in split_tokens(content, tokens)]
        pieces += [(index, delta, None) for delta in deltas]
        last.append((index, {}, reason))
    return [{"index": index, "delta": delta, "finish_reason": why} for index, delta, why in [*first, *pieces, *last]]


def _split_calls(calls: list[dict[str, Any]], tokens: int) -> Iterator[dict[str, Any]]:
    """The deltas of calls: of each its id and name first, then its arguments in pieces."""
    for place, call in enumerate(calls):
        yield {"tool_calls": [{**call, "index": place, "function": {**call["function"], "arguments": ""}}]}
        for piece in split_tokens(call["function"]["arguments"], tokens):
            yield {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}


def _read_turn(message: Mapping[str, Any]) -> tuple[list[str], list[str], bool]:
    """The ids that a message calls by, those that it has results for, and whether it is a result."""
    called = [str(call["id"]) for call in message.get("tool_calls") or ()]
    is_result = message.get("role") == "tool"
    return called, [str(message["tool_call_id"])] if is_result else [], is_result


def render_usage(usage: Usage) -> bytes:
    """The usage object, with details where there are any."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens:
        told["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return orjson.dumps(told)


def render_duration(seconds: float) -> str:
    """A duration as OpenAI's headers have it: `340ms`, `8.64s`, `6m0s`, `1h0m30s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 1000) / 1000, 60)
    shown = f"{rest:.3f}".rstrip("0").rstrip(".")
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h{minutes}m{shown}s" if hours else f"{minutes}m{shown}s" if minutes else f"{shown}s"


def vary(digest: bytes, sample: int) -> bytes:
    """The digest that the sample of that number follows from; the first one from the request's own."""
    return digest if sample == 0 else hashlib.sha256(digest + b"%d" % sample).digest()
