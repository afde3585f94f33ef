"""Approval: who decides whether a call is made, and what they may decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.agents.tools.context import Context
from tidemill.agents.tools.tool import Tool
from tidemill.errors import WorkerError


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A call that is to be decided on; nothing of it was executed yet.

    Attributes:
        tool: the tool's name.
        arguments: what the tool will get, as JSON values: `64` where the model wrote `"64"`, defaults filled in, and
            secrets as they are: whoever decides on something else than what is done decides on nothing.
        agent: the agent's name.
        turn: the agent's turn, from 1.
        context: of the call: with what the agent was called with in `deps`.
    """

    tool: str
    arguments: Mapping[str, Any]
    agent: str
    turn: int
    context: Context[Any]


@dataclass(frozen=True, slots=True)
class Approve:
    """Make the call as it is."""


@dataclass(frozen=True, slots=True)
class Modify:
    """Make the call with other arguments, which are checked as the model's are.

    Attributes:
        arguments: all of them.
    """

    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reject:
    """Do not make the call; the model is told the reason and goes on.

    Attributes:
        reason: empty for none.
    """

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not make the call, and end the agent's run with what it has.

    Attributes:
        reason: empty for none.
    """

    reason: str = ""


Decision = Approve | Modify | Reject | Stop
"""What may be decided; True stands for `Approve()` and False for `Reject()`."""


def needs_approver(tools: Iterable[Tool]) -> tuple[str, ...]:
    """The names of the tools whose calls somebody has to decide on who is not named by the tool itself."""
    return tuple(tool.name for tool in tools if tool.options.needs_approval is True)


def read_decision(given: Any, tool: str) -> Decision:
    """What was decided.

    Raises:
        WorkerError: it is no decision, which ends the run: nothing was decided that could be kept.
    """
    if given is True:
        return Approve()
    if given is False:
        return Reject()
    if isinstance(given, Decision):
        return given
    raise undecided(tool, f"expected Approve(), Modify(…), Reject(…), Stop(…), True or False, got {given!r:.60}")


def undecided(tool: str, why: str) -> WorkerError:
    """That nobody decided on a call, which is neither made nor refused: the run ends there and can go on."""
    error = WorkerError(
        f"nobody decided on a call of `{tool}`, and it was not made: {why}",
        hint="mend the function that approves and run again: the call is then asked about anew",
    )
    error.of = "run"
    return error
