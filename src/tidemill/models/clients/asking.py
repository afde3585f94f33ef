"""How a model that is called by itself is asked: options, checked, and a prompt made into messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypedDict

from pydantic import Field, ValidationInfo, model_validator

from tidemill.config.loading import load_config
from tidemill.config.model import Settings
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError
from tidemill.models.messages import Message
from tidemill.models.model import Model, Params
from tidemill.models.options import Options
from tidemill.models.steps.parameters import KINDS, MaxTokens, Seed, Stop, Temperature, TopP, check_params
from tidemill.models.steps.turns import TurnError, read_turns
from tidemill.models.structured.ladder import find_abilities
from tidemill.models.structured.outputs import Output
from tidemill.models.structured.plan import OutputPlan, plan_output

Prompt = str | Sequence[Message]
"""What a model is asked: a text, or the messages of a conversation."""

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


class Asking(Settings):
    """`AskOptions`, checked, and the `output` that a reply must be of."""

    system: str | None = None
    output: Output | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    params: Params = Field(default_factory=dict)
    max_reasks: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _check_params(self, info: ValidationInfo) -> Self:
        named = [name for name in KINDS if getattr(self, name) is not None]
        check_params(self.params, (info.context or {}).get(_MODEL_PARAMS, ()), named)
        return self

    def options(self, model: Model, *, stream: bool = False) -> Options:
        """How `model` is to answer, whatever its wire format."""
        named: dict[str, Any] = {name: getattr(self, name) for name in KINDS}
        options = Options(**named, stream=stream, params={**model.params, **self.params})
        plan = self.plan_output(model)
        return options if plan is None else plan.add_to(options)

    def plan_output(self, model: Model) -> OutputPlan | None:
        """How `model` is asked for a reply of the `output`; None without one."""
        return None if self.output is None else plan_output(self.output, find_abilities(model, self.params))


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
        ConfigError: it is neither a text nor a list of messages; says which of them is none, and why.
    """
    if isinstance(prompt, str):
        messages = [Message(role="user", content=prompt)]
    else:
        try:
            messages = read_turns(prompt)
        except TurnError as error:
            if not error.place:
                told = f"expected a text or a list of messages as the prompt, got {describe_value(prompt)}"
                raise ConfigError(told, hint=error.hint) from None
            raise ConfigError(error.message, where=f"`prompt{error.place}`", hint=error.hint) from None
    return messages if system is None else [Message(role="system", content=system), *messages]
