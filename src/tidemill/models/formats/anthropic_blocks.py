"""The blocks of Anthropic's messages: what a turn is made of on its way there, and what a reply is made of.

Source: the API reference of `POST /v1/messages`, the guides "Tool use", "Extended thinking" and "Streaming messages"
(platform.claude.com, read in November 2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tidemill.calls.wire import Usage
from tidemill.models.formats.anthropic_fields import find_refusal
from tidemill.models.formats.chat_tools import UNREADABLE, read_object
from tidemill.models.messages import Message, Part, Reply, ToolCall

_ARGUMENTS = "partial_json"
"""Under what the pieces of a call's arguments come, and stand in a block of a stream until it ends."""
_FIELDS: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": _ARGUMENTS,
}
_CALL_FIELDS = frozenset({"type", "id", "name", "input", _ARGUMENTS})


class Prompt:
    """The messages of one request in the format's form.

    Attributes:
        system: the blocks of the system prompt.
        turns: the rest; a plain text stands as it is.
    """

    def __init__(self, instruction: str) -> None:
        self.system: list[dict[str, Any]] = [{"type": "text", "text": instruction}] if instruction else []
        self.turns: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] | None = None

    def add(self, message: Message, *, in_blocks: bool) -> list[dict[str, Any]]:
        """Put a message behind the others; returns its blocks, none of a text that is not needed in blocks."""
        role, content = message["role"], message["content"]
        if role == "tool":
            return self._add_result(message)
        self._results = None
        if message.get("tool_calls") or message.get("blocks"):
            blocks = render_calls(message)
        elif role != "system" and isinstance(content, str) and not in_blocks:
            self.turns.append({"role": role, "content": content})
            return []
        else:
            blocks = render_content(content)
        if role == "system":
            self.system += blocks
        else:
            self.turns.append({"role": role, "content": blocks})
        return blocks

    def _add_result(self, message: Message) -> list[dict[str, Any]]:
        """The results of one turn's calls stand in one turn: in several, models learn to make one call at a time."""
        if self._results is None:
            self._results = []
            self.turns.append({"role": "user", "content": self._results})
        block = render_result(message)
        self._results.append(block)
        return [block]


def render_content(content: str | list[Part]) -> list[dict[str, Any]]:
    """The blocks of a message; an empty text, which the API refuses, is left out."""
    parts: list[Part] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [_render_part(part) for part in parts if part["type"] != "text" or part["text"]]


def render_result(message: Message) -> dict[str, Any]:
    """The block of a tool's result."""
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.get("call_id", "")}
    content = message["content"]
    if told := content if isinstance(content, str) else render_content(content):
        block["content"] = told
    return {**block, "is_error": True} if message.get("is_error") else block


def render_calls(message: Message) -> list[dict[str, Any]]:
    """The blocks of a turn that calls tools: those it came as, where they are kept, else its text and its calls."""
    if kept := [block for block in message.get("blocks") or () if "type" in block]:  # else another format's
        return [dict(block) for block in kept]  # which may be marked for the cache
    texts = [block for block in render_content(message["content"]) if block["type"] != "text" or block["text"].strip()]
    return texts + [_render_call(call) for call in message.get("tool_calls", ())]


def _render_call(call: ToolCall) -> dict[str, Any]:
    given = read_object(call["arguments"])
    given = {UNREADABLE: call["arguments"]} if given is None else given
    return {"type": "tool_use", "id": call["id"], "name": call["name"], "input": given}


def _render_part(part: Part) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    url = part["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def read_blocks(blocks: Sequence[dict[str, Any]], reason: str, usage: Usage | None, details: Any) -> Reply:
    """The reply that blocks came to.

    They are kept with it where it calls tools, or paused in the midst of the provider's own, and its text and calls
    would not make them again: thinking, which is signed, above all.

    Raises:
        TypeError, LookupError, AttributeError: they are no such blocks.
    """
    kinds = [block["type"] for block in blocks]
    text = "".join([block["text"] for block, kind in zip(blocks, kinds, strict=True) if kind == "text"])
    thought = "".join([block["thinking"] for block, kind in zip(blocks, kinds, strict=True) if kind == "thinking"])
    calls = tuple(_read_call(block) for block, kind in zip(blocks, kinds, strict=True) if kind == "tool_use")
    kept = None
    if reason == "pause_turn" or (calls and not _is_plain(blocks, kinds)):
        kept = [_close(block) for block in blocks]
    return Reply(text, reason, usage, find_refusal(reason, details), thought, tool_calls=calls, blocks=kept)


def _is_plain(blocks: Sequence[dict[str, Any]], kinds: Sequence[str]) -> bool:
    """Whether they are one text and calls behind it, or calls alone, with no field that a `ToolCall` does not keep."""
    calls = kinds[1:] if kinds[0] == "text" else kinds
    is_bare = all(kind == "text" or block.keys() <= _CALL_FIELDS for block, kind in zip(blocks, kinds, strict=True))
    return set(calls) == {"tool_use"} and is_bare and not blocks[0].get("citations")


def _read_call(block: Mapping[str, Any]) -> ToolCall:
    told, identity, name = block.get(_ARGUMENTS), "" + block["id"], "" + block["name"]
    if not told:
        given = block.get("input") or {}
        if type(given) is not dict:
            raise TypeError("the input of a tool is no object")
        told = orjson.dumps(given).decode()
    if not (identity and name):
        raise TypeError("a tool call without id or name")
    return ToolCall(id=identity, name=name, arguments=told)


def _close(block: dict[str, Any]) -> dict[str, Any]:
    """A block as it goes back: arguments that came in pieces are put together."""
    if _ARGUMENTS not in block:
        return block
    told = block[_ARGUMENTS]
    closed = {name: value for name, value in block.items() if name != _ARGUMENTS}
    if told:
        given = read_object(told)
        closed["input"] = {UNREADABLE: told} if given is None else given
    return closed


class BlockPieces:
    """The blocks of a message that comes in pieces."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Any]] = []
        self._pieces: list[dict[str, list[str]]] = []
        self._places: dict[Any, int] = {}  # by index

    def start(self, index: Any, block: dict[str, Any]) -> str:
        """Take in the beginning of a block; returns the text it has.

        Raises:
            TypeError, LookupError, AttributeError: it is none.
        """
        text = "" + block["text"] if block["type"] == "text" else ""
        self._places[index] = len(self._blocks)
        self._blocks.append(dict(block))
        self._pieces.append({})
        return text

    def add(self, index: Any, delta: dict[str, Any]) -> str:
        """Take in a piece of a block; returns the text it adds.

        Raises:
            TypeError, LookupError, AttributeError: it is none.
        """
        kind = delta["type"]
        field = _FIELDS.get(kind)
        if field in ("text", "thinking") and index not in self._places:  # of servers that begin without a word
            self.start(index, {"type": field, field: ""})
        if kind == "citations_delta":
            block = self._blocks[self._places[index]]
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        if field is None:  # else a kind that is not known, of a block that is not read
            return ""
        piece = "" + delta[field]
        self._pieces[self._places[index]].setdefault(field, []).append(piece)
        return piece if field == "text" else ""

    def join(self) -> list[dict[str, Any]]:
        """The blocks, in the order in which they began; of calls with what came of their arguments as text."""
        return [_join(block, pieces) for block, pieces in zip(self._blocks, self._pieces, strict=True)]


def _join(block: dict[str, Any], pieces: Mapping[str, list[str]]) -> dict[str, Any]:
    return {**block, **{field: (block.get(field) or "") + "".join(texts) for field, texts in pieces.items()}}
