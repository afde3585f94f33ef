"""What a model is asked for besides the messages, whatever its wire format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tidemill.config.wording.suggest import find_near, list_names

if TYPE_CHECKING:
    from tidemill.models.structured.plan import OutputPlan


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it.

    Attributes:
        parameters: the JSON Schema of its arguments, an object.
        strict: whether the provider is asked to hold arguments to the schema, which then has only what it knows.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is to answer; what is None is left to the endpoint.

    Attributes:
        max_tokens: the most tokens a reply may have, reasoning included.
        output: how a reply of some form is asked for; its `add_to` sets this, and what else it needs.
        reply_schema: the JSON Schema that a reply is held to, where it is of no `output`: sent as it is.
        tools: what it may ask to have called.
        tool_choice: `auto`, `none`, `required`, or the name of the one tool that it must call.
        stream: whether the reply is to come piece by piece.
        params: fields of the request's body passed through verbatim, in the words of the wire format.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    output: OutputPlan | None = None
    reply_schema: Mapping[str, Any] | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | None = None
    stream: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_ceiling(self) -> bool:
        """Whether something bounds a reply's tokens, as a budget in tokens or USD needs."""
        return self.max_tokens is not None or not CEILINGS.isdisjoint(self.params)

    @property
    def is_repeatable(self) -> bool:
        """Whether whoever asks the same gets the same, so that one reply may serve all who ask at the same time."""
        return bool({"temperature": self.temperature, **self.params}["temperature"] == 0)

    def override(self, overrides: Mapping[str, Any]) -> Options:
        """These with others in their place: the names of `Options`, and fields of the body over those of `params`."""
        named = {name: value for name, value in overrides.items() if name in _NAMES}
        params = {name: value for name, value in overrides.items() if name not in _NAMES}
        return replace(self, **named, params={**self.params, **params})


CHOICES = ("auto", "none", "required")
"""What `tool_choice` may be besides the name of a tool."""


class Misfit(NamedTuple):
    """An option that a wire format does not have, or needs and is not given.

    Attributes:
        option: its name.
        message: what is wrong, with `hint` the mend.
    """

    option: str
    message: str
    hint: str


def iter_tool_misfits(options: Options) -> Iterator[Misfit]:
    """What is wrong with the tools of `options` in every wire format."""
    choice, names = options.tool_choice, [tool.name for tool in options.tools]
    repeated = list(dict.fromkeys(name for name in names if names.count(name) > 1))
    if repeated:
        hint = "give each tool a name of its own"
        yield Misfit("tools", f"several tools are called {list_names(repeated, ' and ')}", hint)
    if choice is None or choice in CHOICES or choice in names or "tools" in options.params:
        return
    near = find_near(choice, [*names, *CHOICES])
    hint = f"did you mean `{near}`?" if near else f"one of {list_names([*CHOICES, *names], ' and ')}"
    yield Misfit("tool_choice", f"tool_choice is `{choice}`, and no tool is called so", hint)


CEILINGS = frozenset({"max_tokens", "max_completion_tokens"})
"""The fields of a body that bound a reply's tokens, in any wire format."""

_NAMES = frozenset(each.name for each in fields(Options)) - {"params"}
