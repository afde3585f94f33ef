"""A chat completion as an event stream: its chunks in, the text as it comes and the reply at the end.

Source: the API reference of chat completions, "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tidemill.calls.wire import Usage
from tidemill.config.secrets import mask_start
from tidemill.errors import CallError, TransientCallError
from tidemill.models.chat_fields import find_reasoning, make_reply, parse_usage
from tidemill.models.messages import Reply
from tidemill.models.refusals import explain_error
from tidemill.models.sse import EventParser

_DONE = b"[DONE]"


class ChatStream:
    """A `ReplyStream` of chat-completion chunks; of several choices the first is taken.

    Args:
        keys: what the reply is masked of.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = keys
        self._parser = EventParser()
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._reasonings: list[str] = []
        self._reason = ""
        self._usage: Usage | None = None
        self._is_done = False
        self._error: CallError | None = None

    def feed(self, chunk: bytes) -> str:
        """The text that `chunk` adds to the reply."""
        before = len(self._texts)
        for event in self._parser.feed(chunk):
            if self._error is None and not self._is_done:
                self._take(event.data)
        return "".join(self._texts[before:])

    def reply(self) -> Reply:
        """The reply, once its body has ended.

        Raises:
            TransientCallError: it was cut, held no reply, or told of an error that may pass.
            PermanentCallError: it told of another error.
        """
        if self._error is not None:
            raise self._error
        if not (self._is_done or self._reason):
            raise TransientCallError("the stream ended before the reply did")
        text, refusal, reasoning = map("".join, (self._texts, self._refusals, self._reasonings))
        return make_reply(text, self._reason, self._usage, refusal, reasoning).masked(self._keys)

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
        except (ValueError, AttributeError, TypeError):  # told by the error below, which holds no key
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
        if reason:
            self._reason = reason
