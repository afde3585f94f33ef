"""`ToolOutcome`: what became of one call of a tool, as the ledger keeps it and the model is told."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from tidemill.calls.wire import Response, Usage
from tidemill.models.messages import ImagePart, Message, TextPart

OutcomeKind = Literal["ok", "unknown", "invalid", "beyond", "denied", "stopped", "error", "timeout", "cancelled"]
"""`unknown`: no such tool; `invalid`: its arguments; `beyond`: more calls than a run may make; `denied`, `stopped`: by
whoever approves; `cancelled`: with its siblings."""


ROW_OF_TOOL = 3
"""How many fields the row of an outcome has; a reply's has more, others fewer."""


class ToolOutcome(msgspec.Struct, frozen=True):
    """What became of one call. A `calls.outgoing.Reply` that cost no tokens.

    Attributes:
        tool: its name, as the model wrote it.
        arguments: as JSON values, as far as they could be read; the text as it came where they could not.
        kind: what became of it.
        content: what the model is told, cut and marked as data.
        value: the whole result as JSON, None where there is none.
        error: the class and text of what it failed with, for the report.
        elapsed_s: seconds it took.
        tries: executions it took.
        repairs: what was mended in its arguments.
        images: the pictures that the model is shown behind `content`.
    """

    tool: str
    arguments: Any
    kind: OutcomeKind
    content: str
    value: Any = None
    error: str = ""
    elapsed_s: float = 0.0
    tries: int = 0
    repairs: tuple[str, ...] = ()
    images: tuple[ImagePart, ...] = ()

    usage: ClassVar[Usage] = Usage(0, 0)
    is_cut: ClassVar[bool] = False
    first_token_s: ClassVar[float | None] = None

    @property
    def is_error(self) -> bool:
        """Whether the call gave no result."""
        return self.kind != "ok"

    def to_message(self, call_id: str) -> Message:
        """The outcome as a turn of the conversation: the result of the call of this id."""
        text: TextPart = {"type": "text", "text": self.content}
        message = Message(role="tool", content=[text, *self.images] if self.images else self.content, call_id=call_id)
        if self.is_error:
            message["is_error"] = True
        return message

    def to_row(self) -> list[Any]:
        """The outcome as the JSON list the ledger and the call archive keep: of three, as no reply's."""
        fields = msgspec.structs.asdict(self)
        if not self.images:
            del fields["images"]
        return [fields.pop("tool"), fields.pop("arguments"), fields]

    @classmethod
    def from_row(cls, row: list[Any]) -> ToolOutcome:
        """The outcome of `to_row`."""
        tool, arguments, fields = row
        lists = {"repairs": tuple(fields["repairs"]), "images": tuple(fields.get("images", ()))}
        return cls(tool, arguments, **{**fields, **lists})

    @staticmethod
    def from_response(response: Response) -> ToolOutcome:
        """The outcome that an execution sent back: what a lane or a line decodes its answers by."""
        assert isinstance(response, Finished)
        return response.outcome


class Finished(Response, frozen=True, kw_only=True):
    """What an execution answers its lane: the outcome as it is, which need not become bytes and be read again."""

    outcome: ToolOutcome
