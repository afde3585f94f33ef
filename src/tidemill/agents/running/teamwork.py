"""Agents called as a tool: each in a run of its own, within the one that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tidemill.agents.numbers import number_call
from tidemill.agents.result import AgentResult
from tidemill.agents.running.purse import Purse
from tidemill.agents.running.spending import Spending
from tidemill.agents.tools.refusal import RefusalError
from tidemill.agents.tools.told import Told
from tidemill.calls.gather import run_together
from tidemill.errors import CallError
from tidemill.models.messages import Message

if TYPE_CHECKING:
    from tidemill.agents.opening import OpenAgent
    from tidemill.agents.running.run import Surroundings


async def ask_team(team: Sequence[OpenAgent], request: str, around: Surroundings) -> Told:
    """The answer of one agent, or those of several by their names; the whole runs are kept.

    Raises:
        RefusalError: none of them has an answer.
        TidemillError: a failure of the whole run of a job.
    """
    if len(team) == 1:
        result = await _ask_agent(team[0], request, around)
        if isinstance(result, str):
            raise RefusalError(result)
        return Told(result.plain_output, result.transcript())
    numbered = [(each, replace(around, within=number_call(around.within, 1, place))) for place, each in enumerate(team)]
    results = await run_together(_ask_agent(each, request, inside) for each, inside in numbered)
    named = dict(zip([each.agent.name for each in team], results, strict=True))
    if all(isinstance(each, str) for each in results):
        raise RefusalError("; ".join(f"{name}: {told}" for name, told in named.items()))
    told = {name: each if isinstance(each, str) else each.plain_output for name, each in named.items()}
    kept = {name: each if isinstance(each, str) else each.transcript() for name, each in named.items()}
    return Told(told, kept)


async def _ask_agent(opened: OpenAgent, request: str, around: Surroundings) -> AgentResult | str:
    """A run of the agent, or why it has no answer."""
    from tidemill.agents.running.run import Run  # which calls this

    inside = replace(around, purse=Purse(opened.agent.budget, around.purse), spending=Spending(around.spending))
    try:
        result = await Run(opened, inside).run([Message(role="user", content=request)])
    except CallError as error:
        if error.of == "run":
            raise
        return f"the agent `{opened.agent.name}` failed: {error.message}"
    if result.has_output:
        return result
    last = f"; its last words: {result.text}" if result.text else ""
    return f"the agent `{opened.agent.name}` ended without an answer ({result.stop_reason}){last}"
