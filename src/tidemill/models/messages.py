"""What a model is asked and what it answers, whatever its wire format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypedDict

import msgspec

from tidemill.calls.wire import Usage
from tidemill.config.secrets import MASK

_CUT = frozenset({"length", "max_tokens", "model_context_window_exceeded"})
"""The OpenAI format's word for a reply that ended at a bound on its tokens, and the Anthropic format's two."""


class TextPart(TypedDict):
    """A piece of text within a message."""

    type: Literal["text"]
    text: str


class ImagePart(TypedDict):
    """An image within a message: `url` is its http(s) address, or a data URI that holds it."""

    type: Literal["image"]
    url: str


Part = TextPart | ImagePart


class Message(TypedDict):
    """One turn.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: its text, or its parts in order.
        shared: whether this and all before it are the same in every request of its step: a provider that caches
            prompts on demand is then asked to keep them.
    """

    role: str
    content: str | list[Part]
    shared: NotRequired[bool]


class Reply(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        text: the content as the model wrote it.
        finish_reason: why it ended (`stop`, `length`, `end_turn`, …), as the server said.
        usage: tokens billed, None when the server did not say.
        refusal: the model's refusal, empty when there was none.
        reasoning: what it thought before, where the server shows that.
        first_token_s: seconds from the sending of the request to the first piece of text; None where it came whole.
    """

    text: str
    finish_reason: str = ""
    usage: Usage | None = None
    refusal: str = ""
    reasoning: str = ""
    first_token_s: float | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it ended at a bound on its tokens: `max_tokens`, or the endpoint's own."""
        return self.finish_reason in _CUT

    def masked(self, keys: Iterable[str]) -> Reply:
        """The reply with `***` where it repeats one of `keys`."""
        reply = self
        for key in keys:
            if key in self.text or key in self.finish_reason or key in self.refusal or key in self.reasoning:
                reply = msgspec.structs.replace(
                    reply,
                    text=reply.text.replace(key, MASK),
                    finish_reason=reply.finish_reason.replace(key, MASK),
                    refusal=reply.refusal.replace(key, MASK),
                    reasoning=reply.reasoning.replace(key, MASK),
                )
        return reply

    def to_row(self) -> list[Any]:
        """The reply as the JSON list the ledger and the call archive keep; what is empty at its end is left out."""
        row: list[Any] = [self.text, self.finish_reason, _to_tokens(self.usage), self.refusal]
        if self.reasoning or self.first_token_s is not None:
            row += [self.reasoning, self.first_token_s]
        return row

    @classmethod
    def from_row(cls, row: list[Any]) -> Reply:
        """The reply of `to_row`."""
        text, finish_reason, tokens, *rest = row
        return cls(text, finish_reason, Usage(*tokens) if tokens else None, *rest)


def _to_tokens(usage: Usage | None) -> list[int] | None:
    if usage is None:
        return None
    return [usage.input_tokens, usage.output_tokens] if usage.is_plain else list(msgspec.structs.astuple(usage))
