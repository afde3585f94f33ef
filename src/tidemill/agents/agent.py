"""`Agent`: a model with tools and instructions, called until it has an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.agents.calling.approval import needs_approver
from tidemill.agents.calling.approver import Approver
from tidemill.agents.numbers import MAX_DEPTH, MAX_TURNS
from tidemill.agents.teams import HANDOFF, FanOut, check_name, list_team
from tidemill.agents.toolbox import Tools, is_agent
from tidemill.agents.tools.tool import Tool, ToolSource
from tidemill.calls.limits import Budget
from tidemill.config.model import Settings
from tidemill.config.roles import Runtime
from tidemill.config.wording.words import CalledElsewhere
from tidemill.models.model import Model, Params
from tidemill.models.options import Options, ToolSpec
from tidemill.models.steps.parameters import KINDS, MaxTokens, Seed, Stop, Temperature, TopP, check_params
from tidemill.models.structured.ladder import find_abilities
from tidemill.models.structured.outputs import Output
from tidemill.models.structured.plan import OutputPlan, plan_output

if TYPE_CHECKING:
    from tidemill.agents.client import AgentClient
    from tidemill.agents.feed import AgentEvents
    from tidemill.agents.result import AgentResult
    from tidemill.models.clients.asking import Prompt

OnToolError = Literal["continue", "fail_fast", "cancel"]


class Agent(Settings):
    """A model that is asked, calls tools, is told their results, and is asked again, until it answers.

    Frozen, and called with a question: `agent("…")`, `await agent.acall("…")`, `agent.stream("…")`. Calls go through
    the engine that jobs have. It is opened by its first call and kept open until `close`, the end of a `with` block, or
    until nobody holds it any more. Any thread may call.

    Attributes:
        model: a `tm.model(…)`, or its name.
        tools: functions, tools, sources of tools, and agents, each of which is then a tool.
        output: what the answer must be of, checked; without it, the answer is text.
        instructions: the system message.
        name: what it is called by others and in reports.
        description: what it is for, which agents are told that have it as a tool.
        handoffs: agents that it may hand the conversation over to, each of which then has its own bounds within these.
        max_turns: how often its model is asked at most, and those of the agents that it hands over to; in the last turn
            it is asked for its answer, without tools.
        max_tool_calls: how many calls of tools it makes at most, over all its turns and those of agents that it hands
            over to; what a reply asks for beyond is not made, and the next turn is the last. One of an agent counts as
            one, whatever that calls. Calls that name no tool, or do not fit, are not made and none of them.
        budget: what one run of it may spend, with all that it calls and hands over to. Its `calls` are requests to
            models, retries included; a tool's calls are bounded by `max_tool_calls`.
        max_reasks: how often an answer that does not fit is asked again, with the failing paths.
        max_repeats: in how many turns the same call of a tool may fail in the same way, which then ends the run.
        max_history_tokens: what of the conversation is sent at most; older turns are left out, whole.
        parallel: calls of one turn that are under way at once.
        on_tool_error: what becomes of the other calls of a turn when one fails: they go on; those that have not begun
            are left out; or those under way are cancelled, too.
        approve: decides on calls that need approval: a function, or `{policy: file}`.
        max_tokens: the most tokens a reply may have; needed for a budget in tokens or USD.
        temperature: how freely tokens are drawn.
        top_p: the share of likely tokens that are drawn from.
        seed: what sampling follows from, where the endpoint knows that.
        stop: texts at which a reply ends.
        params: put into every request's body as it is.
    """

    model: Model
    tools: Tools = ()
    output: Annotated[
        Output | None, CalledElsewhere("output_type", "response_format", "response_model", "result_type")
    ] = None
    instructions: Annotated[str, CalledElsewhere("system", "system_prompt", "system_message")] = ""
    name: str = "agent"
    description: str = ""
    handoffs: tuple[Agent, ...] = ()
    max_turns: Annotated[int, CalledElsewhere("max_iterations", "max_steps", "recursion_limit")] = Field(
        default=20, ge=1, le=MAX_TURNS
    )
    max_tool_calls: Annotated[int | None, CalledElsewhere("tool_calls_limit")] = Field(default=None, ge=1)
    budget: Budget | None = None
    max_reasks: int = Field(default=2, ge=0)
    max_repeats: int = Field(default=3, ge=1)
    max_history_tokens: int | None = Field(default=None, ge=256)
    parallel: Annotated[int, Runtime()] = Field(default=32, ge=1)
    on_tool_error: OnToolError = "continue"
    approve: Approver | None = None
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    params: Params = Field(default_factory=dict)

    def __init__(self, model: Any = None, /, **values: Any) -> None:
        super().__init__(**({} if model is None else {"model": model}), **values)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _check_params(self) -> Self:
        named = [name for name in KINDS if getattr(self, name) is not None]
        check_params(self.params, self.model.params, named)
        return self

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        check_name(self.name)
        named = [each.name for each in [*self.list_tools(), *self.list_teams()]]
        named += [HANDOFF + each.name for each in self.handoffs]
        twice = next((name for index, name in enumerate(named) if name in named[:index]), None)
        if twice is not None:
            context = {"name": twice, "path": ("tools",), "hint": "give one of them another name"}
            raise PydanticCustomError("tools", "two tools have the name `{name}`", context)
        if self.depth > MAX_DEPTH:
            message = "agents call each other {depth} deep, and at most {most} levels are kept apart"
            raise PydanticCustomError("tools", message, {"depth": self.depth, "most": MAX_DEPTH, "path": ("tools",)})
        return self

    @model_validator(mode="after")
    def _check_approval(self) -> Self:
        unsure = needs_approver(self.list_tools())
        if unsure and self.approve is None:
            context = {
                "name": unsure[0],
                "path": ("approve",),
                "hint": "give the agent `approve`: a function, or {policy: file}; or say that none is needed: "
                "needs_approval=False of a tool, approve=False of an API",
            }
            raise PydanticCustomError("approve", "calls of `{name}` need approval, and nobody gives it", context)
        return self

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        shown = next((each.name for each in self.list_tools() if each.gives_images), "")
        if shown and not self.shows_images:
            context = {
                "name": shown,
                "model": self.model.model,
                "path": ("tools",),
                "hint": "take a model that is asked with tools of its own, or return what is in the image as text",
            }
            message = "`{name}` gives images, and `{model}` is told the results of tools in words alone"
            raise PydanticCustomError("tools", message, context)
        return self

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        if self.budget is None:
            return self
        for agent in self.iter_agents():
            is_bound = self.budget.usd is not None or self.budget.tokens is not None
            prices = [(agent.model, agent.model.price_with(agent.params))]
            prices += [(model, model.lane_price) for model in agent.list_tool_models()]
            if is_bound and not agent.options((), stream=False).has_ceiling:
                message = "a budget in usd or tokens needs max_tokens, which `{name}` does not set"
                raise PydanticCustomError("budget", message, {"name": agent.name, "path": ("budget",)})
            unknown = next((model.model for model, price in prices if price is None), None)
            if self.budget.usd is not None and unknown is not None:
                message = "a budget in usd needs every model's price, and that of `{model}` is not known"
                context = {"model": unknown, "path": ("budget",), "hint": "give the model a price"}
                raise PydanticCustomError("budget", message, context)
        return self

    @property
    def depth(self) -> int:
        """How many runs of agents are within each other at most, its own included."""
        below = [agent.depth + isinstance(team, FanOut) for team in self.list_teams() for agent in list_team(team)]
        return max([1 + max(below, default=0), *(agent.depth for agent in self.handoffs)])

    @property
    def shows_images(self) -> bool:
        """Whether its model can be shown images in the results of tools, as far as the wire format says."""
        return not self.model.tells_tools

    def list_tools(self) -> list[Tool]:
        """Its tools that are functions."""
        return [each for each in self.tools if isinstance(each, Tool)]

    def list_sources(self) -> list[ToolSource]:
        """Where it has further tools from."""
        known = (Tool, FanOut, Agent)
        return [each for each in self.tools if isinstance(each, ToolSource) and not isinstance(each, known)]

    def list_tool_models(self) -> list[Model]:
        """The models that tools of it ask elsewhere."""
        return [model for source in self.list_sources() for model in source.list_models()]

    def list_teams(self) -> list[Any]:
        """The agents that it calls as a tool, and those that it asks together."""
        return [each for each in self.tools if isinstance(each, FanOut) or is_agent(each)]

    def iter_agents(self) -> Iterator[Agent]:
        """Itself and all agents that a run of it may ask."""
        yield self
        below = [agent for team in self.list_teams() for agent in list_team(team)]
        for agent in (*below, *self.handoffs):
            yield from agent.iter_agents()

    def iter_handoffs(self) -> Iterator[Agent]:
        """All agents that a conversation with it may be handed over to, in one step or several."""
        for agent in self.handoffs:
            yield agent
            yield from agent.iter_handoffs()

    def options(self, tools: tuple[ToolSpec, ...], *, stream: bool) -> Options:
        """How its model is to answer, whatever the wire format."""
        named: dict[str, Any] = {name: getattr(self, name) for name in KINDS}
        params = {**self.model.params, **self.params}
        options = Options(**named, tools=tools, stream=stream, params=params)
        plan = self.plan_output()
        return options if plan is None else plan.add_to(options)

    def plan_output(self) -> OutputPlan | None:
        """How its model is asked for its `output`, which it is not made to call a tool for; None without one."""
        if self.output is None:
            return None
        return plan_output(self.output, find_abilities(self.model, self.params, has_tools=True))

    def __call__(self, prompt: Prompt, *, history: Sequence[Any] = (), deps: Any = None) -> AgentResult:
        """What a run comes to: the answer as `.output`, the conversation as `.history`, the way there as `.turns`.

        Order: the tool calls of a turn are answered in the order in which the model made them.
        Failure: a tool's is told to the model; a bound ends the run with what there is; a model that cannot be asked
        raises. Ctrl-C cancels the model's call and the tools.
        Resume: none: `tm.from_iterable(…).agent(…).write(…)` is durable.

        Args:
            prompt: a text, or the messages of a conversation.
            history: what was said before: `result.history` of an earlier run.
            deps: what tools get as `Context.deps`.

        Raises:
            ConfigError: a key or a model cannot be used, or the prompt is none.
            CallError: the model gave no usable reply.
            ResourceError: the tools of a source cannot be had.
        """
        return self._get_client().run(prompt, history, deps)

    async def acall(self, prompt: Prompt, *, history: Sequence[Any] = (), deps: Any = None) -> AgentResult:
        """As calling it, awaited in the running loop, in which its coroutine tools are run; cancelling reaches all."""
        return await self._get_client().arun(prompt, history, deps)

    def stream(self, prompt: Prompt, *, history: Sequence[Any] = (), deps: Any = None) -> AgentEvents:
        """What happens in a run, as it happens, for `for` and `async for`; `.result` is there at the end."""
        return self._get_client().stream(self, prompt, history, deps)

    def close(self) -> None:
        """Cancel what is in flight and close what is open; the next call opens it again."""
        self._get_client().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What it was given; the model by its name."""
        given = ((name, value) for name, value in super().__repr_args__() if name in self.model_fields_set)
        yield from ((name, self.model.model if name == "model" else value) for name, value in given)

    def _get_client(self) -> AgentClient:
        from tidemill.agents.client import get_client  # which needs the engine; a description needs none

        return get_client(self)
