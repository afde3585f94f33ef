"""What an agent tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.result import AgentResult
from tidemill.calls.wire import Usage
from tidemill.models.messages import ToolCall


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run.

    Attributes:
        agent: the agents that it happened in, from the outermost: `("researcher", "critic")`.
        turn: of the innermost, from 1.
    """

    agent: tuple[str, ...]
    turn: int


@dataclass(frozen=True, slots=True)
class TextDelta(Event):
    """A piece of what the model writes.

    Attributes:
        text: the piece.
        starts_anew: whether what came of this turn before is void, since an attempt failed and another was made.
    """

    text: str
    starts_anew: bool = False


@dataclass(frozen=True, slots=True)
class ToolStart(Event):
    """A call of a tool is under way."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolEnd(Event):
    """A call of a tool has ended."""

    call: ToolCall
    outcome: ToolOutcome


@dataclass(frozen=True, slots=True)
class TurnEnd(Event):
    """The model's turn has ended.

    Attributes:
        usage: what it was billed, None where the server did not say.
        cost_usd: at the model's price, None where that is not known.
    """

    usage: Usage | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Final(Event):
    """The run has ended."""

    result: AgentResult
