"""A scripted model for servers in other processes, which find it by its import path."""

from __future__ import annotations

from tidemill.testing import Call, ToolCalls


def search_then_answer(call: Call) -> str | ToolCalls:
    """Two searches at once; once there are results, a text that has them."""
    if call.results:
        return f"found {' and '.join(call.results)}"
    return ToolCalls(("search", {"q": call.message}), ("search", {"q": "more"}), text="Let me see.")
