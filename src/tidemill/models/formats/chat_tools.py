"""Tools in a chat completion: told in a request, asked for in a reply, and sent back with their results.

Source: the API reference of `POST /v1/chat/completions`; of other servers, what each line below names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tidemill.models.messages import Message, ToolCall
from tidemill.models.options import Options, ToolSpec

UNREADABLE = "INVALID_JSON"
"""What arguments that are no JSON object stand under when they go back: servers that read them (vLLM, llama.cpp, the
Anthropic format) would refuse the whole conversation. The word is Anthropic's (guide "Fine-grained tool streaming")."""

_OWN = frozenset({"id", "type", "index", "function"})
_THOUGHTS: Mapping[str, type[Any]] = {
    "reasoning_content": str,
    "reasoning": str,
    "reasoning_details": list,
    "thinking_blocks": list,
}
"""What thinking models want back with their tool calls: DeepSeek and llama.cpp the first ("Thinking mode": 400 without
it, also where it is empty), vLLM the second, OpenRouter the third, and litellm the last, of Claude."""

_WORDS = frozenset({"auto", "none", "required"})


def render_tools(tools: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    """The `tools` of a request."""
    return [{"type": "function", "function": _render_tool(tool)} for tool in tools]


def _render_tool(tool: ToolSpec) -> dict[str, Any]:
    told = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {**told, "strict": True} if tool.strict else told


def render_choice(options: Options) -> str | dict[str, Any] | None:
    """The `tool_choice` of a request; None leaves it to the endpoint, as it is without tools."""
    choice = options.tool_choice if options.tools else None
    if choice is None or choice in _WORDS:
        return choice
    return {"type": "function", "function": {"name": choice}}


def render_turn(message: Message, content: Any) -> dict[str, Any]:
    """A turn that calls tools or has a result of one, or any other; `content` as the format has it."""
    if message["role"] == "tool":
        return {"role": "tool", "tool_call_id": message.get("call_id", ""), "content": content}
    turn: dict[str, Any] = {"role": message["role"], "content": content}
    for block in message.get("blocks") or ():
        if "type" not in block:  # else another format's
            turn |= block
    if calls := message.get("tool_calls"):
        turn["content"] = content or None
        turn["tool_calls"] = [_render_call(call) for call in calls]
    return turn


def _render_call(call: ToolCall) -> dict[str, Any]:
    arguments = call["arguments"]
    if read_object(arguments) is None:
        arguments = orjson.dumps({UNREADABLE: arguments}).decode()
    told = {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": arguments}}
    return {**told, **call["extra"]} if "extra" in call else told


def read_object(arguments: str) -> dict[str, Any] | None:
    """The object in a call's arguments; None where they are no such JSON."""
    try:
        value = orjson.loads(arguments)
    except ValueError:
        return None
    return value if type(value) is dict else None


def read_calls(told: Any) -> tuple[ToolCall, ...]:
    """The calls of a reply that came whole.

    Raises:
        TypeError, LookupError, AttributeError: they are no such calls.
    """
    if not told:
        return ()
    pieces = CallPieces()
    for index, call in enumerate(told):
        pieces.add({**call, "index": index})
    return pieces.join()


def read_thoughts(message: Mapping[str, Any], calls: tuple[ToolCall, ...]) -> list[Any] | None:
    """The `blocks` of a reply with `calls`: what its model wants back with them; None where there is nothing."""
    if not calls:
        return None
    thoughts = {name: message[name] for name, kind in _THOUGHTS.items() if type(message.get(name)) is kind}
    return [thoughts] if thoughts else None


def add_thoughts(thoughts: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Put what a piece of a stream adds to what the model wants back behind what came before: text, or a list."""
    for name, kind in _THOUGHTS.items():
        more: Any = delta.get(name)
        if type(more) is not kind:
            continue
        if name == "thinking_blocks":
            thoughts[name] = _join_thinking(thoughts.get(name, []), more)
        else:
            thoughts[name] = thoughts[name] + more if name in thoughts else more


def _join_thinking(blocks: list[Any], pieces: list[Any]) -> list[Any]:
    """Thinking with the next pieces of it, as litellm itself joins them: a block is open until it is signed."""
    for piece in pieces:
        last = blocks[-1] if blocks else {}
        if piece.get("type") == "thinking" == last.get("type") and not last.get("signature"):
            text = (last.get("thinking") or "") + (piece.get("thinking") or "")
            piece = {**last, "thinking": text, "signature": piece.get("signature")}
            blocks = blocks[:-1]
        blocks = [*blocks, piece]
    return blocks


class CallPieces:
    """Calls that come in pieces, as servers cut them: by index, by id, or whole."""

    def __init__(self) -> None:
        self._calls: list[_Pieces] = []
        self._by_index: dict[int, _Pieces] = {}

    def add(self, piece: Any) -> str:
        """Take in one element of `tool_calls`; returns what it adds to arguments.

        Raises:
            TypeError, LookupError, AttributeError: it is no piece of a call.
        """
        told = piece.get("function") or {}
        index, identity, name = piece.get("index"), piece.get("id") or "", told.get("name") or ""
        arguments = told.get("arguments")
        known = self._by_index.get(index) if index is not None else self._calls[-1] if self._calls else None
        if known is None or known.is_over(identity, name, arguments):
            known = _Pieces()
            self._calls.append(known)
            if index is not None:
                self._by_index[index] = known
        if not _OWN.issuperset(piece):
            known.extra |= {key: value for key, value in piece.items() if key not in _OWN and value is not None}
        return known.add(identity, name, arguments)

    def join(self) -> tuple[ToolCall, ...]:
        """The calls, in the order in which they began; one without an id of its own is told by its place.

        Raises:
            TypeError: one has no name.
        """
        taken = {call.id for call in self._calls}
        calls: list[ToolCall] = []
        for place, pieces in enumerate(self._calls, 1):
            if not pieces.name:
                raise TypeError("a tool call without a name")
            identity = pieces.id
            if not identity or any(call["id"] == identity for call in calls):
                identity = _place_id(place, taken)
            call = ToolCall(id=identity, name=pieces.name, arguments="".join(pieces.arguments) or "{}")
            if pieces.extra:
                call["extra"] = pieces.extra
            calls.append(call)
        return tuple(calls)


def _place_id(place: int, taken: set[str]) -> str:
    identity = f"call_{place}"
    while identity in taken:
        identity += "_"
    taken.add(identity)
    return identity


class _Pieces:
    """One call on its way: its `id`, `name` and `extra`, and the pieces of its `arguments`."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.extra: dict[str, Any] = {}

    def is_over(self, identity: str, name: str, arguments: Any) -> bool:
        """Whether a piece begins another call: Gemini numbers all calls 0, others none, and some repeat the name."""
        if identity and self.id:
            return identity != self.id
        if not (name and self.name):
            return False
        return name != self.name or (bool(arguments) and read_object("".join(self.arguments)) is not None)

    def add(self, identity: str, name: str, arguments: Any) -> str:
        """Put a piece behind those before it; returns what it adds to the arguments."""
        self.id = self.id or "" + identity
        self.name = self.name or "" + name
        if type(arguments) is dict:  # of servers that do not write JSON into JSON
            arguments = orjson.dumps(arguments).decode()
        added: str = "" if arguments is None else "" + arguments
        self.arguments.append(added)
        return added
