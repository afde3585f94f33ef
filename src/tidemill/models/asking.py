"""How a model that is called by itself is asked: options, checked, and a prompt made into messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypedDict

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tidemill.config.functions import Schema
from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.config.numbers import check_int64
from tidemill.config.words import describe_value
from tidemill.errors import ConfigError
from tidemill.models.messages import Message
from tidemill.models.model import Model, Params
from tidemill.models.options import Options
from tidemill.models.parameters import KINDS, MaxTokens, Seed, Stop, Temperature, TopP, check_params

Prompt = str | Sequence[Message]
"""What a model is asked: a text, or the messages of a conversation."""

_ROLES = ("system", "user", "assistant")
_MODEL_PARAMS = "model_params"
"""Under what the model's own params stand in the context of the check."""


class AskOptions(TypedDict, total=False):
    """What may be said with each question.

    Attributes:
        system: the system message.
        max_tokens: the most tokens the reply may have; needed for a budget in tokens or USD.
        temperature: 0-2.
        top_p: above 0, to 1.
        seed: what sampling follows from, where the endpoint knows that.
        stop: texts at which the reply ends.
        params: fields of the request's body passed through verbatim, over those of the model.
        max_reasks: how often a reply that does not fit `output` is asked again with the failing paths; by default 2.
    """

    system: str
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: Sequence[str]
    params: Mapping[str, Any]
    max_reasks: int


class Asking(Config):
    """`AskOptions`, checked, and the `output` that a reply must be of."""

    system: str | None = None
    output: Schema | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    params: Params = Field(default_factory=dict)
    max_reasks: int = Field(default=2, ge=0)

    _check_int64 = field_validator("max_reasks")(check_int64)

    @model_validator(mode="after")
    def _check_params(self, info: ValidationInfo) -> Self:
        named = [name for name in KINDS if getattr(self, name) is not None]
        check_params(self.params, (info.context or {}).get(_MODEL_PARAMS, ()), named)
        return self

    def options(self, model: Model, *, stream: bool = False) -> Options:
        """How `model` is to answer, whatever its wire format."""
        named: dict[str, Any] = {name: getattr(self, name) for name in KINDS}
        return Options(**named, output=self.output, stream=stream, params={**model.params, **self.params})


def load_asking(options: Mapping[str, Any], model: Model) -> Asking:
    """The options of a question to `model`, checked; what is None is as if it were not there.

    Raises:
        ConfigError: one is unknown or out of its bounds; all of them at once.
    """
    given = {key: value for key, value in options.items() if value is not None}
    return load_config(Asking, given, context={_MODEL_PARAMS: model.params})


def render_messages(prompt: Any, system: str | None) -> list[Message]:
    """The messages of `prompt`, behind the system message.

    Raises:
        ConfigError: it is neither a text nor a list of messages; says which of them is none.
    """
    if isinstance(prompt, str):
        messages = [Message(role="user", content=prompt)]
    elif isinstance(prompt, Sequence) and not isinstance(prompt, (bytes, bytearray)) and prompt:
        messages = [_check_message(message, index) for index, message in enumerate(prompt)]
    else:
        raise ConfigError(
            f"expected a text or a list of messages as the prompt, got {describe_value(prompt)}",
            hint='a message is {"role": "user", "content": "…"}',
        )
    return messages if system is None else [Message(role="system", content=system), *messages]


def _check_message(message: Any, index: int) -> Message:
    where = f"message {index} of the prompt"
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        hint = 'a message is {"role": "user", "content": "…"}'
        raise ConfigError(
            f"expected a mapping with role and content, got {describe_value(message)}", where=where, hint=hint
        )
    role, content = message["role"], message["content"]
    if role not in _ROLES:
        raise ConfigError(f"expected the role system, user or assistant, got {describe_value(role)}", where=where)
    is_parts = isinstance(content, list) and all(map(_is_part, content))
    if not isinstance(content, str) and not is_parts:
        raise ConfigError(
            f"expected a text or a list of parts as content, got {describe_value(content)}",
            where=where,
            hint='a part is {"type": "text", "text": "…"} or {"type": "image", "url": "…"}',
        )
    return Message(role=role, content=content)


def _is_part(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    field = {"text": "text", "image": "url"}.get(part.get("type", ""))
    return field is not None and isinstance(part.get(field), str)
