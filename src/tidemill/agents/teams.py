"""Agents that work together: one as a tool of another, several asked at once, and the conversation handed on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.agents.tools.context import Context
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.tool import Tool
from tidemill.config.model import Settings
from tidemill.config.objects.descriptions import describe_value, fingerprint_json
from tidemill.config.wording.words import describe_value as describe

if TYPE_CHECKING:
    from tidemill.agents.agent import Agent

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What every provider takes as the name of a tool."""

HANDOFF = "transfer_to_"
HANDED_ON = "The conversation was handed over to you: go on with it."
HANDED_ON_BEFORE = "The conversation was handed over already, by the call before."
TEAM_CONCURRENCY = 1_000
"""Runs of an agent that is a tool, at once; its model's limits bound what they send."""

Request = Annotated[str, Field(description="All it has to know: it sees nothing else of this conversation.")]


class FanOut(Settings):
    """Several agents as one tool: each is asked the same at the same time, and the tool gives all their answers.

    Attributes:
        name: of the tool.
        agents: those that are asked.
        description: what the tool is for.
    """

    name: str
    agents: tuple[Any, ...] = Field(min_length=1)
    description: str = ""

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        check_name(self.name)
        names = [getattr(each, "name", "") for each in self.agents]
        for place, each in enumerate(self.agents):
            if not hasattr(each, "list_teams") or isinstance(each, type):
                context = {"got": describe(each), "path": ("agents", place)}
                raise PydanticCustomError("agents", "expected an agent, got {got}", context)
            if each.name in names[:place]:
                context = {"name": each.name, "path": ("agents", place), "hint": "give one of them another name"}
                raise PydanticCustomError("agents", "two agents have the name `{name}`, by which they answer", context)
        return self


def fan_out(name: str, agents: Sequence[Agent], *, description: str = "") -> FanOut:
    """A tool that asks several agents the same at the same time; its result has each answer by the agent's name.

    Failure: of one agent, told in its place; the tool fails where none of them has an answer.

    Raises:
        ConfigError: the name is none, or there is no agent.
    """
    return FanOut(name=name, agents=tuple(agents), description=description)


def check_name(name: str) -> None:
    """Refuse what is no name for a tool or an agent."""
    if not NAME.fullmatch(name):
        message = "expected a name of at most 64 letters, digits, `_` and `-`, got `{name}`"
        raise PydanticCustomError("name", message, {"name": name, "path": ("name",)})


def list_team(team: Any) -> tuple[Agent, ...]:
    """The agents behind a tool: an agent itself, or those of a `FanOut`."""
    return team.agents if isinstance(team, FanOut) else (team,)


def make_team_tool(team: Any) -> Tool:
    """The tool by which `team` is called; each run puts its own function in.

    What its agents are is a part of each call: with other instructions, an answer of before is none.
    """
    agents = list_team(team)
    description = team.description or _describe(agents)
    made = tool(_ask, name=team.name, description=description, timeout_s=None, concurrency=TEAM_CONCURRENCY)
    return replace(made, runs_here=True, stamp=fingerprint_json(describe_value(agents))[:16])


def make_handoff_tool(name: str, agent: Agent) -> Tool:
    """The tool that hands the conversation on to `agent`; no function is called for it."""
    about = f": {agent.description}" if agent.description else "."
    return tool(_hand_on, name=name, description=f"Hand the conversation over to `{agent.name}`{about}")


def _describe(agents: Sequence[Agent]) -> str:
    if len(agents) == 1:
        return f"Ask the agent `{agents[0].name}`."
    names = ", ".join(f"`{each.name}`" for each in agents)
    return f"Ask the agents {names} the same at once."


async def _ask(request: Request, context: Context[Any]) -> Any:
    raise AssertionError("a run puts in its own function")


def _hand_on() -> Any:
    raise AssertionError("a run hands the conversation on itself")
