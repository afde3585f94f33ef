"""What a model is asked and what it answers, whatever its wire format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import msgspec

from tidemill.calls.wire import Usage
from tidemill.config.secrets import MASK

_CUT = frozenset({"length", "max_tokens", "model_context_window_exceeded"})
"""The OpenAI format's word for a reply that ended at a bound on its tokens, and the Anthropic format's two."""


_PLAIN = 3
"""How many fields of a row of `Reply` stand between its tokens and its tool calls."""


class TextPart(TypedDict):
    """A piece of text within a message."""

    type: Literal["text"]
    text: str


class ImagePart(TypedDict):
    """An image within a message: `url` is its http(s) address, or a data URI that holds it."""

    type: Literal["image"]
    url: str


Part = TextPart | ImagePart


class ToolCall(TypedDict):
    """What a model asks to have called.

    Attributes:
        id: what its result is told by.
        name: of the tool.
        arguments: JSON, as the model wrote it; nothing says that it is valid.
        extra: fields of the provider's own that have to go back with it, such as Gemini's thought signature.
    """

    id: str
    name: str
    arguments: str
    extra: NotRequired[dict[str, Any]]


class Message(TypedDict):
    """One turn.

    Attributes:
        role: `system`, `user`, `assistant` or, of a tool's result, `tool`.
        content: its text, or its parts in order.
        shared: whether this and all before it are the same in every request of its step: a provider that caches
            prompts on demand is then asked to keep them.
        tool_calls: of an assistant's turn, what it asks to have called.
        blocks: of an assistant's turn, the blocks it came as, where a provider wants them back unchanged (Anthropic's
            signed thinking); other formats leave them out.
        call_id: of a tool's result, the `id` of the call it answers.
        is_error: of a tool's result, whether the call failed.
    """

    role: str
    content: str | list[Part]
    shared: NotRequired[bool]
    tool_calls: NotRequired[list[ToolCall]]
    blocks: NotRequired[list[Any]]
    call_id: NotRequired[str]
    is_error: NotRequired[bool]


class Reply(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        text: the content as the model wrote it.
        finish_reason: why it ended (`stop`, `length`, `end_turn`, …), as the server said.
        usage: tokens billed, None when the server did not say.
        refusal: the model's refusal, empty when there was none.
        reasoning: what it thought before, where the server shows that.
        first_token_s: seconds from the sending of the request to the first piece of text; None where it came whole.
        tool_calls: what it asks to have called, in order.
        blocks: the blocks it came as, where the provider wants them back unchanged; else None.
        asked: of an agent's, the messages that the conversation had gained before it beside replies and results.
    """

    text: str
    finish_reason: str = ""
    usage: Usage | None = None
    refusal: str = ""
    reasoning: str = ""
    first_token_s: float | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    blocks: list[Any] | None = None
    asked: list[Message] | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it ended at a bound on its tokens: `max_tokens`, or the endpoint's own."""
        return self.finish_reason in _CUT

    def masked(self, keys: Iterable[str]) -> Reply:
        """The reply with `***` where it repeats one of `keys`."""
        reply = self
        for key in keys:
            if reply.tool_calls or reply.blocks:
                calls = tuple(_mask(reply.tool_calls, key))
                reply = msgspec.structs.replace(reply, tool_calls=calls, blocks=_mask(reply.blocks, key))
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
        if self.tool_calls or self.blocks or self.asked:
            row += ["", None][len(row) - 4 :]
            row += [self.tool_calls, self.blocks]
            row += [self.asked] if self.asked else []
        return row

    @classmethod
    def from_row(cls, row: list[Any]) -> Reply:
        """The reply of `to_row`."""
        text, finish_reason, tokens, *rest = row
        usage = Usage(*tokens) if tokens else None
        if len(rest) > _PLAIN:
            rest[_PLAIN] = tuple(rest[_PLAIN])
        return cls(text, finish_reason, usage, *rest)

    def to_message(self) -> Message:
        """The reply as a turn of the conversation that goes on."""
        message = Message(role="assistant", content=self.text)
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
        if self.blocks:
            message["blocks"] = self.blocks
        return message


def read_text(content: str | Sequence[Part]) -> str:
    """The text of a message's content, without its images."""
    return (
        content if isinstance(content, str) else "\n".join(each["text"] for each in content if each["type"] == "text")
    )


def _mask(value: Any, key: str) -> Any:
    """A JSON value with `***` where one of its texts repeats `key`."""
    if isinstance(value, str):
        return value.replace(key, MASK)
    if isinstance(value, dict):
        return {name: _mask(each, key) for name, each in value.items()}
    return [_mask(each, key) for each in value] if isinstance(value, (list, tuple)) else value


def _to_tokens(usage: Usage | None) -> list[int] | None:
    if usage is None:
        return None
    return [usage.input_tokens, usage.output_tokens] if usage.is_plain else list(msgspec.structs.astuple(usage))
