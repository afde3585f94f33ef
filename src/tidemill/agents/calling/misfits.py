"""`Misfits`: finds the calls in a reply that are not made, for the report, which else counts those alone that are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tidemill.agents.calling.dispatcher import MAX_CALLS
from tidemill.agents.tools.tool import Tool
from tidemill.models.messages import Reply

UNKNOWN = "unknown tools"
"""Under which an agent's calls are counted that name no tool of it: the names are the model's, and may be any."""

INVALID = "invalid"
"""Under which a tool's calls are counted whose arguments do not fit."""


class Misfits:
    """Finds the calls in a reply that follow from it alone, and are no rows.

    Looked for as the reply is counted and committed, each once: a reply that is recalled says nothing new.

    Args:
        label: what the agent's replies are counted under; each tool's calls are counted below.
        tools: that are called, by name.
        handoffs: names of tools that hand the conversation over.
    """

    def __init__(self, label: str, tools: Mapping[str, Tool], handoffs: Collection[str]) -> None:
        self._label = label
        self._tools = tools
        self._handoffs = handoffs

    def find(self, reply: Reply) -> Iterator[tuple[str, str]]:
        """Of each such call the label of the share, and what is counted in it."""
        if not reply.tool_calls or reply.refusal:
            return
        called = (call for call in reply.tool_calls if call["name"] not in self._handoffs)
        for place, call in enumerate(called):
            tool = self._tools.get(call["name"])
            if tool is None:
                yield self._label, UNKNOWN
            elif place >= MAX_CALLS or tool.signature.check(call["arguments"]).values is None:
                yield f"{self._label}/{tool.name}", INVALID
