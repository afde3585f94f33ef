"""The fields of a chat completion, as they come whole or in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.calls.wire import Usage
from tidemill.models.messages import Reply, ToolCall

_FILTERED = "content_filter"


def make_reply(
    text: str | None,
    reason: str | None,
    usage: Usage | None,
    refusal: str | None,
    reasoning: str = "",
    *,
    calls: tuple[ToolCall, ...] = (),
    blocks: list[Any] | None = None,
) -> Reply:
    """The reply of these fields; one that the provider's filter stopped is a refusal, since its text is not whole."""
    if reason == _FILTERED and not refusal:
        refusal = "the provider's content filter stopped the reply"
    return Reply(text or "", reason or "", usage, refusal or "", reasoning, tool_calls=calls, blocks=blocks)


def find_reasoning(message: Mapping[str, Any]) -> str:
    """What the model thought, where the server shows it."""
    # DeepSeek, vLLM and llama.cpp by the one, OpenRouter by the other
    text = message.get("reasoning_content") or message.get("reasoning")
    return text if type(text) is str else ""


def parse_usage(usage: Any) -> Usage | None:
    """The tokens told; None when there are none, or they are no counts: the budget then counts the call whole.

    Where the total is more than input and output, the rest is output: Gemini and Grok leave reasoning out of theirs.
    """
    try:
        tokens, more = usage["prompt_tokens"], usage["completion_tokens"]
    except (LookupError, TypeError):
        return None
    if not type(tokens) is type(more) is int or tokens < 0 or more < 0:
        return None
    total = usage.get("total_tokens")
    if type(total) is int and total > tokens + more:
        more = total - tokens
    if len(usage) == (2 if total is None else 3):  # nothing is told apart
        return Usage(tokens, more)
    spent, made = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = find_count(spent, "cached_tokens") or find_count(usage, "prompt_cache_hit_tokens")  # DeepSeek's
    written = find_count(spent, "cache_write_tokens")
    if cached + written > tokens:  # makes no sense: then all of it is billed as plain input
        cached = written = 0
    return Usage(tokens, more, cached, written, min(more, find_count(made, "reasoning_tokens")))


def count(value: Any) -> int | None:
    """`value` where it is a number of tokens."""
    return value if type(value) is int and value >= 0 else None


def find_count(fields: Any, name: str) -> int:
    """The number of tokens under `name`, 0 where there is none."""
    return (count(fields.get(name)) or 0) if type(fields) is dict else 0
