"""The `generate` step: ask a model about each record and put its answer into a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import orjson
from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.paths import KeyPath
from tidemill.config.types.templates import Template
from tidemill.errors import DataError
from tidemill.models.model import Model, Params
from tidemill.models.options import Options
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.parameters import KINDS, FromColumn, MaxTokens, Seed, Stop, Temperature, TopP, check_params
from tidemill.models.steps.prompts import Conversation, Example, Examples, render_examples
from tidemill.models.structured.checking import OutputParser, explain_misfits
from tidemill.models.structured.ladder import find_abilities
from tidemill.models.structured.outputs import Output, annotation_of
from tidemill.models.structured.plan import OutputPlan, plan_output

MAX_SAMPLES = 1_000
MAX_REASKS = 999
"""A call's number is `1,000 * sample + ask`: it says the same whatever these two are set to."""


class Generate(CallNode):
    """Ask `model` the rendered `prompt` and put its reply into the column `into`.

    Attributes:
        model: a `tm.model(…)`, or its name.
        prompt: a Jinja template over the record's columns; `{file: …}` reads it from a file.
        system: likewise, sent as the system message.
        messages: in place of `prompt`, a conversation: the column that holds it, or a list of templates.
        examples: questions with their answers, shown to the model in front of the record's own.
        images: columns whose images go behind the text: bytes, paths, addresses or PIL images, or lists of them.
        output: what the reply must be of: a Pydantic model, another class or annotation, or a JSON Schema; the column
            holds its JSON form. Without it, the text.
        into: the column of the reply.
        n: how many replies are asked for, each by a call of its own; the column then holds the list of them.
        max_tokens: the most tokens a reply may have; needed for a budget in tokens or USD. Like the next four, it may
            stand in a column of each record.
        temperature: how freely tokens are drawn.
        top_p: the share of likely tokens that are drawn from.
        seed: of the first sample; each further one has the next number.
        stop: texts at which a reply ends.
        stream: the reply comes piece by piece, and the time to its first token is measured.
        params: put into every request's body as it is.
        max_reasks: how often a reply that does not fit `output` is asked again with the failing paths.
    """

    kind = "generate"

    model: Model
    prompt: Template | None = None
    system: Template | None = None
    messages: Conversation | None = None
    examples: Examples = ()
    images: tuple[str, ...] = ()
    output: Output | None = None
    into: str = "reply"
    n: int = Field(default=1, ge=1, le=MAX_SAMPLES)
    max_tokens: MaxTokens | FromColumn | None = None
    temperature: Temperature | FromColumn | None = None
    top_p: TopP | FromColumn | None = None
    seed: Seed | FromColumn | None = None
    stop: Stop | FromColumn | None = None
    stream: bool = False
    params: Params = Field(default_factory=dict)
    max_reasks: int = Field(default=2, ge=0, le=MAX_REASKS)

    @model_validator(mode="after")
    def _check_params(self) -> Self:
        check_params(self.params, self.model.params, (*self._typed_options(), *self.parameter_columns()))
        return self

    @model_validator(mode="after")
    def _check_question(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            given = "neither" if self.prompt is None else "both"
            raise PydanticCustomError(
                "question", "expected `prompt`, or `messages` in its place, got {given}", {"given": given}
            )
        if self.messages == ():
            message = "expected a list of at least 1 message, got none"
            raise PydanticCustomError("question", message, {"path": ("messages",)})
        for index, example in enumerate(self.examples):
            self._check_example(index, example)
        return self

    def _check_example(self, index: int, example: Example) -> None:
        if not isinstance(example.input, str):
            if self.prompt is None:
                message = "expected the text of a message: there is no `prompt` that these columns could be put into"
                raise _wrong_example(index, "input", message)
            try:
                render_examples([example], self.prompt)
            except DataError as error:
                raise _wrong_example(index, "input", error.message, error.hint) from None
        if self.output is not None:
            answer = example.output
            text = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
            try:
                OutputParser(self.output).parse(text)
            except ValidationError as error:
                misfits = "; ".join(explain_misfits(error, self.output, text))
                raise _wrong_example(index, "output", f"is none of `{self.output.__name__}`: {misfits}") from None

    @property
    def is_repeatable(self) -> bool:
        """Whether whoever asks the same gets the same, so that one reply may serve all who ask at the same time."""
        # The samples of one record are to be draws of their own, unless a seed makes them different requests anyway.
        is_one = self.n == 1 or isinstance(self.seed, int)
        return is_one and not isinstance(self.temperature, FromColumn) and self._plain_options().is_repeatable

    @property
    def has_ceiling(self) -> bool:
        """Whether something bounds the tokens of each reply, as a budget in tokens or USD needs."""
        return isinstance(self.max_tokens, FromColumn) or self._plain_options().has_ceiling

    def options(self) -> Options:
        """How the model is to answer, whatever its wire format; what records set themselves is not in it."""
        plan = self.plan_output()
        return self._plain_options() if plan is None else plan.add_to(self._plain_options())

    def plan_output(self) -> OutputPlan | None:
        """How a reply of its `output` is asked for; None without one."""
        if self.output is None:
            return None
        return plan_output(self.output, find_abilities(self.model, self.params))

    def parameter_columns(self) -> dict[str, str]:
        """The parameters that each record sets itself, and in which column."""
        held = ((name, getattr(self, name)) for name in KINDS)
        return {name: value.column for name, value in held if isinstance(value, FromColumn)}

    def find_model(self) -> Model:
        """The model it asks."""
        return self.model

    def find_params(self) -> Mapping[str, Any]:
        """Its `params`."""
        return self.params

    def column_types(self) -> dict[str, Any]:
        """The column of its replies: texts, or what `output` is; with several samples a list of them."""
        one = str if self.output is None else annotation_of(self.output)
        return {self.into: one if self.n == 1 else list[one]}  # type: ignore[valid-type]

    def iter_templates(self) -> Iterator[tuple[KeyPath, Template]]:
        """Its templates over the record, each with its key."""
        for name, template in (("prompt", self.prompt), ("system", self.system)):
            if template is not None:
                yield (name,), template
        for index, turn in enumerate(() if isinstance(self.messages, str) else self.messages or ()):
            yield ("messages", index, "content"), turn.content

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        """The columns it names, each with its key."""
        if isinstance(self.messages, str):
            yield ("messages",), self.messages
        for index, column in enumerate(self.images):
            yield ("images", index), column
        for name, column in self.parameter_columns().items():
            yield (name, "column"), column

    def _plain_options(self) -> Options:
        """What `options` has without the `output`."""
        params = {**self.model.params, **self.params}
        return Options(**self._typed_options(), stream=self.stream, params=params)

    def _typed_options(self) -> dict[str, Any]:
        held = ((name, getattr(self, name)) for name in KINDS)
        return {name: value for name, value in held if value is not None and not isinstance(value, FromColumn)}


def _wrong_example(index: int, field: str, message: str, hint: str = "") -> PydanticCustomError:
    context = {"message": message, "hint": hint, "path": ("examples", index, field)}
    return PydanticCustomError("example", "{message}", context)
