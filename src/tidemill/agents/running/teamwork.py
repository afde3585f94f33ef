"""Agents called as a tool: each in a run of its own, within the one that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.numbers import number_call
from tidemill.agents.result import AgentResult, count_replies, list_runs
from tidemill.agents.running.purse import Purse
from tidemill.agents.running.spending import Spending
from tidemill.agents.running.stint import Ending
from tidemill.agents.tools.told import Refused, Told
from tidemill.calls.budget import Spend
from tidemill.calls.gather import run_together
from tidemill.calls.limits import PICO_USD_PER_USD
from tidemill.calls.wire import Usage
from tidemill.errors import CallError
from tidemill.models.messages import Message

if TYPE_CHECKING:
    from tidemill.agents.opening import OpenAgent
    from tidemill.agents.running.run import Surroundings


async def ask_team(team: Sequence[OpenAgent], request: str, around: Surroundings) -> Told | Refused:
    """The answer of one agent, or those of several by their names; a refusal where there is none.

    The whole runs are kept, of those without an answer, too.

    Raises:
        TidemillError: a failure of the whole run of a job.
    """
    if len(team) == 1:
        result, answer = await _ask_agent(team[0], request, around)
        return Told(answer, result.transcript()) if result.has_output else Refused(answer, result.transcript())
    numbered = [(each, replace(around, within=number_call(around.within, 1, place))) for place, each in enumerate(team)]
    found = await run_together(_ask_agent(each, request, inside) for each, inside in numbered)
    named = {each.agent.name: one for each, one in zip(team, found, strict=True)}
    kept = {name: result.transcript() for name, (result, _) in named.items()}
    told = {name: answer for name, (_, answer) in named.items()}
    if any(result.has_output for result, _ in found):
        return Told(told, kept)
    return Refused("; ".join(f"{name}: {answer}" for name, answer in told.items()), kept)


def recall_team(outcome: ToolOutcome, around: Surroundings) -> None:
    """Count what the runs behind an outcome came to that was committed before: nothing of them is gone through again.

    Raises:
        Spent: the budget has no room for it.
    """
    for run in list_runs(outcome.value):
        (input_tokens, output_tokens), cost_usd = run["tokens"], run["cost_usd"]
        around.spending.recall(Usage(input_tokens, output_tokens), cost_usd)
        pico_usd = round((cost_usd or 0) * PICO_USD_PER_USD)
        around.purse.recall(Spend(count_replies(run), input_tokens + output_tokens, pico_usd))


async def _ask_agent(opened: OpenAgent, request: str, around: Surroundings) -> tuple[AgentResult, Any]:
    """A run of the agent, and its answer, or why it has none."""
    from tidemill.agents.running.run import Run  # which calls this

    name = opened.agent.name
    purse = Purse(name, opened.agent.budget, around.purse)
    run = Run(opened, replace(around, purse=purse, spending=Spending(around.spending)))
    try:
        result = await run.run([Message(role="user", content=request)])
    except CallError as error:
        if error.of == "run":
            raise
        return run.end(Ending("failed")), f"the agent `{name}` failed: {error.message}"
    if result.has_output:
        return result, result.plain_output
    last = f"; its last words: {result.text}" if result.text else ""
    return result, f"the agent `{name}` ended without an answer ({result.ending}){last}"
