"""Anthropic's messages.

Source: the API reference of `POST /v1/messages`, its streaming events, errors, rate limits and prompt caching.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from tidemill.calls.wire import Usage
from tidemill.errors import DataError
from tidemill.testing.formats.exchange import (
    TOKEN_CHARACTERS,
    Ask,
    Exchange,
    count_output,
    find_told_schema,
    split_tokens,
)
from tidemill.testing.load.meter import Standing
from tidemill.testing.tool_calls import Content, ToolCalls, check_results

ERROR_TYPES = {
    200: "api_error",
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
MAX_BREAKPOINTS = 4
CACHE_S = {"5m": 300.0, "1h": 3600.0}
MAX_CACHED = 65_536

_STOP_REASONS = {"": "end_turn", "length": "max_tokens", "refusal": "refusal"}


class AnthropicMessages:
    """`POST …/messages`. Keeps which prefixes were marked for the cache; belongs to one server."""

    streams = True
    counts_cached = False
    overloaded = 529

    def __init__(self) -> None:
        self._cache = PromptCache()

    def check(self, payload: Any, head: bytes) -> None:
        if b"\r\nanthropic-version:" not in head.lower():
            raise DataError("anthropic-version: header is required")
        if not isinstance(payload, dict):
            raise DataError("expected an object")
        ceiling = payload.get("max_tokens")
        if type(ceiling) is not int or ceiling < 1:
            raise DataError(f"max_tokens: expected a whole number from 1, got {ceiling!r}")
        messages = payload.get("messages")
        if not isinstance(messages, list) or not messages:
            raise DataError("messages: at least one message is required")
        for number, message in enumerate(messages):
            if message.get("role") not in ("user", "assistant"):
                raise DataError(f"messages.{number}.role: expected user or assistant, got {message.get('role')!r}")
        if payload.get("tool_choice") and not payload.get("tools"):
            raise DataError("tool_choice: may only be specified while providing tools")
        check_results([_read_turn(message) for message in messages])
        marked = sum(is_marked for _, is_marked in _iter_blocks(payload))
        if marked > MAX_BREAKPOINTS:
            raise DataError(f"at most {MAX_BREAKPOINTS} blocks with cache_control, got {marked}")

    def find_schema(self, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        wanted = (payload.get("output_config") or {}).get("format") or {}
        if wanted.get("type", "json_schema") != "json_schema":
            raise DataError(f"output_config.format.type: expected json_schema, got {wanted['type']!r}")
        schema: Mapping[str, Any] | None = wanted["schema"] if wanted else _find_told_schema(payload)
        return schema

    def find_tool(self, payload: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
        choice = payload.get("tool_choice") or {}
        tools = [tool for tool in payload.get("tools") or () if "input_schema" in tool]
        wanted = [tool for tool in tools if choice.get("type") == "any" or tool["name"] == choice.get("name")]
        return (wanted[0]["name"], wanted[0]["input_schema"]) if wanted else None

    def count_samples(self, payload: Mapping[str, Any]) -> int:
        return 1

    def find_ceiling(self, payload: Mapping[str, Any]) -> int | None:
        ceiling: int = payload["max_tokens"]
        return ceiling

    def count_usage(self, ask: Ask, contents: Sequence[Content]) -> Usage:
        total = (len(ask.body) + 3) // TOKEN_CHARACTERS
        read, written = self._cache.find(ask)
        return Usage(total, count_output(contents, self.find_ceiling(ask.payload)), read, written)

    def remember(self, ask: Ask) -> None:
        self._cache.write(ask)

    def render_reply(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> bytes:
        message = _make_message(exchange)
        message["content"] = [block for content in contents for block in _make_blocks(content, exchange.digest)]
        message["stop_reason"] = _find_reason(contents, finish)
        if exchange.usage is not None:
            message["usage"]["output_tokens"] = exchange.usage.output_tokens
        return orjson.dumps(message)

    def render_events(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> list[bytes]:
        ending: dict[str, Any] = {"delta": {"stop_reason": _find_reason(contents, finish), "stop_sequence": None}}
        if exchange.usage is not None:
            ending["usage"] = {"output_tokens": exchange.usage.output_tokens}
        calls = [content for content in contents if isinstance(content, ToolCalls)]
        text = "".join(content if isinstance(content, str) else content.text for content in contents)
        blocks = [{"type": "text", "text": text}] if text or not calls else []
        blocks += [block for each in calls for block in _make_calls(each, exchange.digest)]
        events = [_render_event("message_start", message=_make_message(exchange))]
        for index, block in enumerate(blocks):
            started, *rest = _render_block(index, block, exchange.delivery.tokens_per_event)
            events += [started, _render_event("ping"), *rest] if index == 0 else [started, *rest]
        return [*events, _render_event("message_delta", **ending), _render_event("message_stop")]

    def render_error(self, status: int, message: str) -> bytes:
        kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fault"})

    def render_error_event(self, message: str) -> bytes:
        return _render_event("error", error={"type": "overloaded_error", "message": message})

    def limit_headers(self, standings: Sequence[Standing], now_epoch: float) -> dict[str, str]:
        headers = {}
        for standing in standings:
            name = f"anthropic-ratelimit-{standing.unit.replace('_', '-')}"
            reset = datetime.fromtimestamp(math.ceil(now_epoch + standing.reset_s), UTC)
            headers[f"{name}-limit"] = f"{standing.per_minute:.0f}"
            headers[f"{name}-remaining"] = f"{math.floor(standing.remaining)}"
            headers[f"{name}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def retry_headers(self, wait_s: float) -> dict[str, str]:
        return {"retry-after": f"{math.ceil(wait_s)}"}


def _find_told_schema(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema that Tidemill tells in the system prompt, where it is not one that is enforced."""
    system = payload.get("system")
    blocks = [{"text": system}] if isinstance(system, str) else system or ()
    return find_told_schema(str(block.get("text", "")) for block in blocks if isinstance(block, Mapping))


def _make_message(exchange: Exchange) -> dict[str, Any]:
    """A message before its text."""
    message: dict[str, Any] = {
        "id": f"msg_{exchange.digest[:12].hex()}",
        "type": "message",
        "role": "assistant",
        "model": exchange.payload.get("model"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    if (usage := exchange.usage) is not None:
        message["usage"] = {
            "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
            "cache_creation_input_tokens": usage.cache_write_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": min(1, usage.output_tokens),
        }
    return message


def _find_reason(contents: Sequence[Content], finish: str) -> str:
    if not finish and any(isinstance(content, ToolCalls) for content in contents):
        return "tool_use"
    return _STOP_REASONS.get(finish, finish)


def _make_blocks(content: Content, digest: bytes) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    said = [{"type": "text", "text": content.text}] if content.text else []
    return [*said, *({**call, "input": _read(call["input"])} for call in _make_calls(content, digest))]


def _make_calls(content: ToolCalls, digest: bytes) -> list[dict[str, Any]]:
    """The blocks of calls, their arguments still as text."""
    return [
        {"type": "tool_use", "id": f"toolu_{identity}", "name": name, "input": arguments}
        for identity, (name, arguments) in zip(content.identify(digest), content.calls, strict=True)
    ]


def _read(arguments: str) -> Any:
    """Arguments as they stand in a whole message: a text where they are no JSON, which the API never has."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def _render_block(index: int, block: dict[str, Any], tokens: int) -> list[bytes]:
    """The events of one block: its start, its pieces, its end."""
    if block["type"] == "text":
        start: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in split_tokens(block["text"], tokens)]
    else:
        start = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in split_tokens(block["input"], tokens)]
    return [
        _render_event("content_block_start", index=index, content_block=start),
        *(_render_event("content_block_delta", index=index, delta=delta) for delta in deltas),
        _render_event("content_block_stop", index=index),
    ]


def _read_turn(message: Mapping[str, Any]) -> tuple[list[str], list[str], bool]:
    """The ids that a message calls by, those that it has results for, and whether it is made of results alone."""
    blocks = message["content"] if isinstance(message.get("content"), list) else []
    called = [str(block["id"]) for block in blocks if block.get("type") == "tool_use"]
    answered = [str(block["tool_use_id"]) for block in blocks if block.get("type") == "tool_result"]
    return called, answered, bool(answered)


def _render_event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def _iter_blocks(payload: Mapping[str, Any]) -> Iterator[tuple[bytes, bool]]:
    """Every block of the prompt in the order that caching goes by, as bytes, and whether it is marked."""
    parts: list[Any] = list(payload.get("tools") or ())
    parts += _list_blocks(payload.get("system"))
    for message in payload.get("messages") or ():
        parts += [{"role": message.get("role"), **block} for block in _list_blocks(message.get("content"))]
    ends_marked = bool(payload.get("cache_control"))
    for number, part in enumerate(parts, 1):
        shown = orjson.dumps({key: value for key, value in part.items() if key != "cache_control"})
        yield shown, bool(part.get("cache_control")) or (ends_marked and number == len(parts))


def _list_blocks(content: Any) -> list[Any]:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


class PromptCache:
    """The prefixes that were marked with `cache_control`, each for as long as its mark says, from its last use on."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def find(self, ask: Ask) -> tuple[int, int]:
        """Of the input, the tokens read from the cache, and those that answering it writes there."""
        prefixes = self._list_prefixes(ask)
        read = max((tokens for digest, tokens in prefixes if self._until.get(digest, 0.0) > ask.now), default=0)
        return read, max((tokens for _, tokens in prefixes), default=0) - read

    def write(self, ask: Ask) -> None:
        """Keep what the request marks."""
        kept_s = CACHE_S["1h"] if b'"1h"' in ask.body else CACHE_S["5m"]
        for digest, _ in self._list_prefixes(ask):
            self._until.pop(digest, None)
            self._until[digest] = ask.now + kept_s
        while len(self._until) > MAX_CACHED:
            del self._until[next(iter(self._until))]

    def _list_prefixes(self, ask: Ask) -> list[tuple[bytes, int]]:
        return list(self._iter_prefixes(ask)) if b'"cache_control"' in ask.body else []

    def _iter_prefixes(self, ask: Ask) -> Iterator[tuple[bytes, int]]:
        hashed, size = hashlib.sha256(orjson.dumps(ask.payload.get("model"))), 0
        for block, is_marked in _iter_blocks(ask.payload):
            hashed.update(block)
            size += len(block)
            tokens = size // TOKEN_CHARACTERS
            if is_marked and tokens >= ask.delivery.min_cached_tokens:
                yield hashed.digest(), tokens
