"""What the agents of the benches are asked, what they have, and what a model answers them. Standard library only.

A run has four turns: its model calls one tool, then the other, then both at once, and then answers.
"""

from __future__ import annotations

import json
from typing import Any

NAME = "stockist"
INSTRUCTIONS = (
    "You answer questions about what a shop has. Look articles up before you say anything about them, quote the price "
    "for the count that was asked for, and answer in one sentence that names the article, its place and the sum."
)
ANSWER = "There are 14 of article 7 on shelf C-12; three of them come to 59.70 euros, and article 8 is sold out."
ARTICLE, COUNT = "A-000007", 3


async def find_stock(article: str, store: str = "main") -> dict[str, Any]:
    """What a store has of an article.

    Args:
        article: its number, as A-000001.
        store: where to look.
    """
    return {"article": article, "store": store, "count": 14, "shelf": "C-12", "updated": "2026-11-27T08:15:00Z"}


async def quote_price(article: str, count: int) -> float:
    """The price of so many of an article, in euros.

    Args:
        article: its number, as A-000001.
        count: how many.
    """
    return 19.9 * count


TOOLS = (find_stock, quote_price)


def make_question(number: int) -> str:
    """What the agent of this number is asked, no two the same."""
    return (
        f"Question {number}: a customer wants to know whether article A-{number % 1_000_000:06} is there, and where in "
        "the shop it stands, and what three of them cost together. What do I tell her, and is there anything like it?"
    )


_STOCK = {"name": "find_stock", "arguments": {"article": ARTICLE, "store": "main"}}
_PRICE = {"name": "quote_price", "arguments": {"article": ARTICLE, "count": COUNT}}
TURNS = ((_STOCK,), (_PRICE,), (_STOCK, _PRICE), ())
"""The tools that each turn calls."""

RESULTS_BEFORE = (0, 1, 2, 4)
"""The results of tools that stand in the request of each turn."""


def make_completion(turn: int) -> bytes:
    """What the model answers in a turn, from 0, as a chat completion."""
    calls = [
        {
            "id": f"call_{turn}_{place}",
            "type": "function",
            "function": {"name": called["name"], "arguments": json.dumps(called["arguments"])},
        }
        for place, called in enumerate(TURNS[turn])
    ]
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else ANSWER}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": 300 + 100 * turn, "completion_tokens": 30, "total_tokens": 330 + 100 * turn}
    return json.dumps(
        {"id": "chatcmpl-1", "object": "chat.completion", "model": "bench", "choices": [choice], "usage": usage}
    ).encode()
