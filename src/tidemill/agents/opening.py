"""Opening agents: each model and tool of the tree with its way out, once for all runs."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tidemill.agents.agent import Agent
from tidemill.agents.answers import AnswerReader
from tidemill.agents.calling.approval import needs_approver
from tidemill.agents.calling.isolated import check_not_importing
from tidemill.agents.calling.marking import DATA_NOTE
from tidemill.agents.calling.misfits import Misfits
from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.calling.outside import open_tool_lane
from tidemill.agents.calling.places import Places
from tidemill.agents.sources import HeldSource
from tidemill.agents.teams import list_team, make_handoff_tool, make_team_tool
from tidemill.agents.tools.tool import Tool, ToolSource
from tidemill.agents.tools.ways import ToolWays
from tidemill.calls.budget import Pricing
from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.wire import Response, Tally
from tidemill.errors import ConfigError
from tidemill.models.endpoints import make_endpoint
from tidemill.models.formats.endpoint import Endpoint
from tidemill.models.lanes import OpenModels
from tidemill.models.messages import Message, Reply
from tidemill.models.options import ToolSpec
from tidemill.models.steps.lines import Line
from tidemill.models.structured.dialects.table import adapt_tools
from tidemill.models.structured.ladder import find_dialect
from tidemill.resources.scope import Scope
from tidemill.stores.steps.opened import OpenStores


@dataclass(frozen=True, slots=True)
class Kit:
    """What an agent's requests have in common, once all its tools are known.

    Attributes:
        system: what each request begins with, nothing where neither the agent nor its tools have anything to say.
        tools: what its model may call, by name; those of them that hand the conversation over are not called.
        called: the others.
        lines: how the calls of each go out.
        tally: under what its model's replies are counted, with the calls in them that are not made; `last_tally` those
            of a last turn, whose calls are not looked at; `tallies` the outcomes of its tools, by name.
        endpoint: where and how its model is asked; `streamed` for a reply that comes piece by piece.
    """

    system: Sequence[Message]
    tools: Mapping[str, Tool]
    called: Mapping[str, Tool]
    lines: Mapping[str, Line]
    tally: Tally
    last_tally: Tally
    tallies: Mapping[str, Tally]
    endpoint: Endpoint
    streamed: Endpoint


class OpenAgent:
    """An agent whose model and tools have their ways out. Belongs to one loop.

    Attributes:
        agent: what it is.
        path: its name, behind those of the agents that call it.
        pricing: what its model's calls cost, where `is_priced`.
        teams: the agents that a tool of it calls, by the tool's name.
        handoffs: the agents that it may hand the conversation to, by the name of the tool that does.
        answers: what reads its replies that call no tool.
    """

    def __init__(self, agent: Agent, path: tuple[str, ...], opener: AgentOpener) -> None:
        self.agent = agent
        self.path = path
        self.answers = AnswerReader(agent)
        self._opener = opener
        self._model = opener.models.find(agent.model)
        price = agent.model.price_with(agent.params)
        self.pricing, self.is_priced = Pricing(price), price is not None
        self.model_line = Line(self._model.lane, self._model.lane, _told_by_the_call, Reply.from_row)
        teams = {team.name: team for team in agent.list_teams()}
        self.teams = {
            name: tuple(opener.open(each, (*path, each.name)) for each in list_team(team))
            for name, team in teams.items()
        }
        self.handoffs = {f"transfer_to_{each.name}": opener.open(each, (*path, each.name)) for each in agent.handoffs}
        own = [make_team_tool(team) for team in teams.values()]
        own += [make_handoff_tool(name, opened.agent) for name, opened in self.handoffs.items()]
        self._tools = {tool.name: tool for tool in [*agent.list_tools(), *own]}
        self._label = "/".join((*opener.label, *path))
        self._sources = [opener.hold(source, self._label) for source in agent.list_sources()]
        self._kit: Kit | None = None

    @property
    def places(self) -> Places:
        """Where executions of tools run beside the loop."""
        return self._opener.places

    async def kit(self) -> Kit:
        """Its tools and endpoints; the servers of some are opened by the first who asks.

        Raises:
            ConfigError: two tools have one name.
            ResourceError: a server's tools cannot be had.
        """
        if self._kit is not None:
            return self._kit
        tools = dict(self._tools)
        for source in self._sources:
            for tool in await source.tools():
                if tool.name in tools:
                    raise ConfigError(
                        f"the agent `{self.agent.name}` has two tools with the name `{tool.name}`",
                        hint="give those of one source a prefix, or allow fewer of them",
                    )
                tools[tool.name] = tool
        self._check_approval(tools)
        self._kit = self._make_kit(tools)
        return self._kit

    def _check_approval(self, tools: Mapping[str, Tool]) -> None:
        unsure = needs_approver(tools.values())
        if unsure and self.agent.approve is None:
            raise ConfigError(
                f"calls of `{unsure[0]}` need approval, and nobody gives it to the agent `{self.agent.name}`",
                hint="give the agent `approve`, or say of the source that it needs none: approve: false",
            )

    def _make_kit(self, tools: Mapping[str, Tool]) -> Kit:
        agent, model = self.agent, self._model
        specs = make_specs(tools.values(), agent)

        def make(stream: bool) -> Endpoint:
            options = agent.options(specs, stream=stream)
            return make_endpoint(agent.model, model.headers, options)

        called = {name: tool for name, tool in tools.items() if name not in self.handoffs}
        lines = {name: self._opener.line(tool) for name, tool in called.items()}
        label = self._label
        tallies = {name: Tally(f"{label}/{name}", _name_outcome) for name in lines if name not in self.teams}
        system = make_system(agent.instructions, has_tools=bool(tools))
        tally = Tally(label, beside=Misfits(label, called, self.handoffs).find)
        endpoints = make(stream=False), make(stream=True)
        return Kit(system, tools, called, lines, tally, Tally(label), tallies, *endpoints)

    def iter_lines(self) -> list[Line]:
        """How calls go out so far, those of the agents below included."""
        own = [self.model_line, *(self._kit.lines.values() if self._kit is not None else ())]
        below = [each for team in self.teams.values() for each in team] + list(self.handoffs.values())
        return own + [line for each in below for line in each.iter_lines()]


class AgentOpener:
    """Opens agents by one engine: each model, each tool and each source once.

    Args:
        engine: what calls go through.
        models: its open models.
        stores: open stores, which tools may search.
        scope: what is opened is closed with it.
        label: what the labels begin with that their calls are counted under.

    Raises:
        ConfigError: this is a script that the process of an isolated tool imports.
    """

    def __init__(
        self,
        engine: Engine,
        models: OpenModels,
        scope: Scope,
        *,
        stores: OpenStores,
        label: tuple[str, ...] = (),
    ) -> None:
        check_not_importing()
        self.models = models
        self.label = label
        self._stores = stores
        self._engine = engine
        self._scope = scope
        self._lanes: dict[int, tuple[Tool, Lane]] = {}
        self.places = Places(random.Random())
        scope.defer_async(self.places.close, name="tools")

    def open(self, agent: Agent, path: tuple[str, ...] | None = None) -> OpenAgent:
        """The agent, opened with those that it calls."""
        return OpenAgent(agent, path or (agent.name,), self)

    def line(self, tool: Tool) -> Line:
        """How the calls of a tool go out: by one lane, whoever has it."""
        known = self._lanes.get(id(tool))
        if known is None:
            key = f"tool {tool.name}" + (f"#{len(self._lanes)}" if self._lanes else "")
            known = self._lanes[id(tool)] = (tool, open_tool_lane(self._engine, tool, key))
        return Line(known[1], known[1], ToolOutcome.from_response, ToolOutcome.from_row, is_keyed=True)

    def hold(self, source: ToolSource, label: str) -> HeldSource:
        """The tools of a source, which is left with the scope; `label` is that of the agent that has them."""
        held = HeldSource(source, ToolWays(self.models, self._stores, label))
        self._scope.defer_async(held.close, name="tools")
        return held


def make_specs(tools: Collection[Tool], agent: Agent) -> tuple[ToolSpec, ...]:
    """The tools as the agent's model is told of them: strictly held to their arguments where nothing is lost by it.

    That is asked of OpenAI and Anthropic themselves; not for a model whose replies are asked for in the prompt alone,
    which is how somebody says that nothing is to be held to a schema.
    """
    model, plan = agent.model, agent.plan_output()
    schemas = [tool.signature.schema for tool in tools]
    dialect = find_dialect(model)
    if dialect == model.provider and model.replies != "prompt":
        reply = plan.schema if plan is not None and plan.rung == "schema" else None
        adapted = adapt_tools(schemas, dialect, reply)
    else:
        adapted = [(schema, False) for schema in schemas]
    return tuple(
        ToolSpec(tool.name, tool.description, parameters, is_strict)
        for tool, (parameters, is_strict) in zip(tools, adapted, strict=True)
    )


def make_system(instructions: str, *, has_tools: bool) -> list[Message]:
    """The system message of an agent, which says what the marks around results mean; none where it would be empty."""
    text = "\n\n".join(filter(None, [instructions, DATA_NOTE if has_tools else ""]))
    return [Message(role="system", content=text, shared=True)] if text else []


def _name_outcome(outcome: ToolOutcome) -> tuple[str, ...]:
    return (outcome.kind,)


def _told_by_the_call(response: Response) -> Reply:
    raise AssertionError("each call of an agent's model says how its reply is read")
