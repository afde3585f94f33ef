"""What of a request Anthropic's prompt cache is asked to keep, besides what the requests of a step share.

Source: the guides "Prompt caching" and "Tool use with prompt caching" (platform.claude.com, read in November 2026):
tools come before the system prompt, which comes before the messages; another `tool_choice` makes what is kept of the
messages useless, not what is kept of the tools; an entry is found at a mark, or up to 20 blocks in front of one.
"""

from __future__ import annotations

from typing import Any

CACHED = {"type": "ephemeral"}
"""The mark, for five minutes. A request may have four."""


def mark_loop(turns: list[dict[str, Any]]) -> None:
    """Mark the last turn, and the one that was the last of the request before.

    The loop's next request then reads all of this one at a tenth of the price; it finds it however many calls and
    results, of more than 20 blocks, stand between the two marks.
    """
    _mark(turns, len(turns) - 1)
    answers = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
    if answers and answers[-1] < len(turns) - 1:
        _mark(turns, answers[-1] - 1)


def _mark(turns: list[dict[str, Any]], index: int) -> None:
    """Mark the last block of a turn of the user's; an assistant's may end with thinking, which cannot be marked."""
    if index < 0 or turns[index]["role"] != "user":
        return
    content = turns[index]["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if blocks and (blocks[-1].get("text") != ""):
        turns[index] = {"role": "user", "content": [*blocks[:-1], {**blocks[-1], "cache_control": CACHED}]}
