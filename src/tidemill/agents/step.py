"""The `agent` step: have an agent answer each record, durably."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from tidemill.agents.agent import Agent
from tidemill.calls.limits import Price
from tidemill.config.paths import KeyPath
from tidemill.config.roles import Runtime
from tidemill.config.types.functions import Function, import_object
from tidemill.config.types.templates import Template
from tidemill.config.wording.words import describe_value
from tidemill.models.model import Model
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.prompts import Conversation
from tidemill.models.structured.outputs import annotation_of

CONCURRENCY = 64


def _to_agent(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    found = import_object(value, (info.context or {}).get("folder"))
    if isinstance(found, Agent):
        return found
    message = "`{path}` is no agent but {got}"
    raise PydanticCustomError("agent", message, {"path": value, "got": describe_value(found)})


AgentRef = Annotated[Agent, BeforeValidator(_to_agent)]
"""An agent, its fields, or its import path; holds the agent."""


class RunAgent(CallNode):
    """Have `agent` answer the rendered `prompt` and put its answer into the column `into`.

    Each reply of its model and each result of a tool is a call of the record, committed by itself: after a crash the
    agent goes on behind the last of them.

    Attributes:
        agent: a `tm.Agent(…)`, its fields, or its import path.
        prompt: a Jinja template over the record's columns; `{file: …}` reads it from a file.
        messages: in place of `prompt`, a conversation: the column that holds it, or a list of templates.
        into: the column of the answer: of an agent's `output` its JSON form, else the text.
        transcript: a column for the whole run, as JSON text.
        on_limit: what becomes of a record whose agent ends without an answer, at a bound: it fails, or it lands with
            null in `into`.
        deps: a function of the record that makes what tools get as `Context.deps`; it may take resources.
        concurrency: records that agents work on at once.
    """

    kind = "agent"
    functions = ("deps",)

    agent: AgentRef
    prompt: Template | None = None
    messages: Conversation | None = None
    into: str = "answer"
    transcript: str | None = None
    on_limit: Literal["fail", "land"] = "fail"
    deps: Function | None = None
    concurrency: Annotated[int, Runtime()] = Field(default=CONCURRENCY, ge=1, le=10_000)

    @model_validator(mode="after")
    def _check_question(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            given = "neither" if self.prompt is None else "both"
            message = "expected `prompt`, or `messages` in its place, got {given}"
            raise PydanticCustomError("question", message, {"given": given})
        if self.transcript == self.into:
            message = "the column `{name}` is the answer's: give the transcript another"
            raise PydanticCustomError("transcript", message, {"name": self.into, "path": ("transcript",)})
        return self

    @model_validator(mode="after")
    def _check_handoffs(self) -> Self:
        others = [each for each in self.agent.iter_handoffs() if each.output != self.agent.output]
        if others:
            message = (
                "`{other}`, which may take over from `{name}`, answers with another output, and one column has both"
            )
            context = {
                "other": others[0].name,
                "name": self.agent.name,
                "path": ("agent",),
                "hint": "give both the same output, or make it a tool of the other: tools in place of handoffs",
            }
            raise PydanticCustomError("handoffs", message, context)
        return self

    def iter_calls(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """The models that it asks: its agent's, then those of the agents that one calls."""
        for place, agent in enumerate(self.agent.iter_agents()):
            label = agent.name if place else ""
            yield label, ("agent",), AskAgent(step=self, asked=agent)

    def iter_beside(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """The models that tools ask, of its agent and of those that one calls."""
        for agent in self.agent.iter_agents():
            for model in agent.list_tool_models():
                yield f"{agent.name} tools", ("agent", "tools"), AskOfTool(asked=model)

    def column_types(self) -> dict[str, Any]:
        """The columns of the answer and the transcript."""
        answer = str if self.agent.output is None else annotation_of(self.agent.output)
        columns = {self.into: answer if self.on_limit == "fail" else answer | None}
        return columns | ({} if self.transcript is None else {self.transcript: str})

    def iter_templates(self) -> Iterator[tuple[KeyPath, Template]]:
        """Its templates over the record, each with its key."""
        if self.prompt is not None:
            yield ("prompt",), self.prompt
        for index, turn in enumerate(() if isinstance(self.messages, str) else self.messages or ()):
            yield ("messages", index, "content"), turn.content

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        """The columns it names, each with its key."""
        if isinstance(self.messages, str):
            yield ("messages",), self.messages


class AskAgent(CallNode):
    """One model of an agent's step, as checks and estimates look at it; no step itself."""

    kind = "agent"

    step: RunAgent
    asked: Agent

    @property
    def has_ceiling(self) -> bool:
        """Whether something bounds the tokens of each reply."""
        return self.asked.options((), stream=False).has_ceiling

    def find_model(self) -> Model:
        return self.asked.model

    def find_price(self) -> Price | None:
        return self.asked.model.price_with(self.asked.params)

    def find_params(self) -> Mapping[str, Any]:
        return self.asked.params

    def column_types(self) -> dict[str, Any]:
        return self.step.column_types() if self.asked is self.step.agent else {}

    def iter_templates(self) -> Iterator[tuple[KeyPath, Template]]:
        yield from self.step.iter_templates() if self.asked is self.step.agent else ()

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        yield from self.step.iter_columns() if self.asked is self.step.agent else ()


class AskOfTool(CallNode):
    """A model that a tool asks, as checks look at it; no step itself."""

    kind = "agent"

    asked: Model

    def find_model(self) -> Model:
        return self.asked
