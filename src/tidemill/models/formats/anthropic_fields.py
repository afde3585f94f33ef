"""The fields of an Anthropic message, as they come whole or in pieces."""

from __future__ import annotations

from typing import Any

from tidemill.calls.wire import Usage
from tidemill.models.formats.chat_fields import count, find_count


def parse_usage(usage: Any) -> Usage | None:
    """The tokens told; None when there are none, or they are no counts: the budget then counts the call whole.

    `input_tokens` leaves out what was read from the cache and written to it; a `Usage` has all of it.
    """
    if type(usage) is not dict:
        return None
    plain, made = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if plain is None or made is None:
        return None
    cached = find_count(usage, "cache_read_input_tokens")
    written = find_count(usage, "cache_creation_input_tokens")
    thought = find_count(usage.get("output_tokens_details"), "thinking_tokens")
    return Usage(plain + cached + written, made, cached, written, min(made, thought))


def find_refusal(reason: str, details: Any) -> str:
    """Why the model refused, empty when it did not."""
    if reason != "refusal":
        return ""
    fields = details if isinstance(details, dict) else {}
    return str(fields.get("explanation") or fields.get("category") or "the provider says no more")
