"""An Anthropic message as an event stream: its events in, the text as it comes and the reply at the end.

Source: the guide "Streaming messages" (platform.claude.com).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tidemill.config.secrets import mask_start
from tidemill.errors import TransientCallError
from tidemill.models.formats.anthropic_blocks import BlockPieces, read_blocks
from tidemill.models.formats.anthropic_fields import parse_usage
from tidemill.models.formats.event_reply import EventReply
from tidemill.models.formats.refusals import explain_error
from tidemill.models.messages import Reply


class MessageStream(EventReply):
    """The events of one message."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        super().__init__(keys)
        self._blocks = BlockPieces()
        self._usage: dict[str, Any] = {}
        self._details: Any = None

    def _make(self) -> Reply:
        try:
            return read_blocks(self._blocks.join(), self._reason, parse_usage(self._usage), self._details)
        except (LookupError, AttributeError, TypeError) as exc:
            raise TransientCallError(f"expected a message, got {type(exc).__name__}: {exc}") from None

    def _take(self, data: bytes) -> None:
        try:
            event = orjson.loads(data)
            kind = event["type"]
            if kind == "content_block_delta":
                self._add(self._blocks.add(event.get("index"), event["delta"]))
                if event["delta"].get("type") == "input_json_delta":
                    self._arguments.append(event["delta"]["partial_json"])
            elif kind == "content_block_start":
                self._add(self._blocks.start(event.get("index"), event["content_block"]))
            elif kind == "message_start":
                self._count(event["message"].get("usage"))
            elif kind == "message_delta":
                self._end(event["delta"])
                self._count(event.get("usage"))
            elif kind == "message_stop":
                self._is_done = True
            elif kind == "error":
                self._error = explain_error(event["error"])
        except (ValueError, LookupError, AttributeError, TypeError):  # told by the error below, which holds no key
            shown = mask_start(data.decode("utf-8", "replace"), 80)
            self._error = TransientCallError(f"expected an event of a message as JSON, got {shown!r}")

    def _add(self, text: str) -> None:
        if text:
            self._texts.append(text)

    def _end(self, delta: Any) -> None:
        self._reason = "" + (delta.get("stop_reason") or "")
        self._details = delta.get("stop_details")

    def _count(self, usage: Any) -> None:
        """The counts told last are those of the whole message so far."""
        self._usage.update({name: value for name, value in (usage or {}).items() if value is not None})
