"""What a model is asked and what it answers, whatever its wire format."""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict

from tidemill.calls.wire import Usage


class Message(TypedDict):
    """One turn: `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


class Reply(NamedTuple):
    """One answer.

    Attributes:
        text: the content as the model wrote it.
        finish_reason: why it ended (`stop`, `length`, …), as the server said.
        usage: tokens billed, None when the server did not say.
        refusal: the model's refusal, empty when there was none.
    """

    text: str
    finish_reason: str = ""
    usage: Usage | None = None
    refusal: str = ""

    @property
    def is_cut(self) -> bool:
        """Whether it ended at a bound on its tokens: `max_tokens`, or the endpoint's own."""
        return self.finish_reason == "length"

    def to_row(self) -> list[Any]:
        """The reply as the JSON list the ledger and the call archive keep."""
        usage = self.usage
        tokens = [usage.input_tokens, usage.output_tokens] if usage else None
        return [self.text, self.finish_reason, tokens, self.refusal]

    @classmethod
    def from_row(cls, row: list[Any]) -> Reply:
        """The reply of `to_row`."""
        text, finish_reason, tokens, refusal = row
        return cls(text, finish_reason, Usage(*tokens) if tokens else None, refusal)
