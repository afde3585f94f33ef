"""A chat completion as an event stream: its chunks in, the text as it comes and the reply at the end.

Source: the API reference of chat completions, "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tidemill.calls.wire import Usage
from tidemill.config.secrets import mask_start
from tidemill.errors import TransientCallError
from tidemill.models.formats.chat_fields import find_reasoning, make_reply, parse_usage
from tidemill.models.formats.chat_tools import CallPieces, add_thoughts, read_thoughts
from tidemill.models.formats.event_reply import EventReply
from tidemill.models.formats.refusals import explain_error
from tidemill.models.messages import Reply

_DONE = b"[DONE]"


class ChatStream(EventReply):
    """The chunks of one chat completion; of several choices the first is taken."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        super().__init__(keys)
        self._refusals: list[str] = []
        self._reasonings: list[str] = []
        self._usage: Usage | None = None
        self._calls = CallPieces()
        self._thoughts: dict[str, Any] = {}

    def _make(self) -> Reply:
        text, refusal, reasoning = map("".join, (self._texts, self._refusals, self._reasonings))
        try:
            calls = self._calls.join()
        except TypeError as exc:
            raise TransientCallError(f"expected a chat completion, got {exc}") from None
        blocks = read_thoughts(self._thoughts, calls)
        return make_reply(text, self._reason, self._usage, refusal, reasoning, calls=calls, blocks=blocks)

    def _take(self, data: bytes) -> None:
        if data == _DONE:
            self._is_done = True
            return
        try:
            chunk = orjson.loads(data)
            if error := chunk.get("error"):
                self._error = explain_error(error)
                return
            if usage := chunk.get("usage"):
                self._usage = parse_usage(usage)
            for choice in chunk.get("choices") or ():
                if not choice.get("index"):
                    self._add(choice.get("delta") or {}, choice.get("finish_reason"))
        except (ValueError, LookupError, AttributeError, TypeError):  # told by the error below, which holds no key
            shown = mask_start(data.decode("utf-8", "replace"), 80)
            self._error = TransientCallError(f"expected a chunk of a chat completion as JSON, got {shown!r}")

    def _add(self, delta: Any, reason: Any) -> None:
        text, refusal = delta.get("content"), delta.get("refusal")
        if not {type(text), type(refusal), type(reason)} <= {str, type(None)}:
            raise TypeError("a piece of the reply is no text")
        if text:
            self._texts.append(text)
        if refusal:
            self._refusals.append(refusal)
        if reasoning := find_reasoning(delta):
            self._reasonings.append(reasoning)
        add_thoughts(self._thoughts, delta)
        for piece in delta.get("tool_calls") or ():
            self._arguments.append(self._calls.add(piece))
        if reason:
            self._reason = reason
