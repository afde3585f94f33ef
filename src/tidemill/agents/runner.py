"""Running the `agent` step: a run of the agent for each record."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import orjson

from tidemill.agents.calling.home import Home
from tidemill.agents.opening import OpenAgent
from tidemill.agents.result import AgentResult
from tidemill.agents.running.outside import RunOutside
from tidemill.agents.running.purse import Purse
from tidemill.agents.running.run import Run, Surroundings
from tidemill.agents.running.spending import Spending
from tidemill.agents.step import RunAgent
from tidemill.data.steps.functions import copy_record
from tidemill.models.steps.calling import hook_run
from tidemill.models.steps.lines import StepAsk
from tidemill.models.steps.prompts import PromptRenderer
from tidemill.protocols import Record


class AgentRunner:
    """Runs one `RunAgent` node. Belongs to one loop.

    Args:
        opened: the node's agent.
        folder: what relative paths start from.
    """

    def __init__(self, node: RunAgent, opened: OpenAgent, *, folder: Path) -> None:
        self._node = node
        self.opened = opened
        self._slots = asyncio.Semaphore(node.concurrency)
        self._hooked = hook_run(self._run, node.bound_hooks)
        self._render = make_renderer(node, folder).render

    def run(self, record: Record, ask: StepAsk) -> Awaitable[Record]:
        """`record` with the answer in its column; the step's hooks are called around it.

        Raises:
            PermanentCallError: the agent ended without an answer, and that is the record's failure.
            CallError, DataError: as `ask` raises it, or as the prompt cannot be made.
        """
        return self._hooked(record, ask)

    async def _run(self, record: Record, ask: StepAsk) -> Record:
        node = self._node
        async with self._slots:
            messages = self._render(record)
            deps = await self._make_deps(record)
            outside = RunOutside(ask, Home(), self.opened.places)
            around = Surroundings(outside, deps, Purse(node.agent.name, node.agent.budget), Spending())
            result = await Run(self.opened, around).run(messages)
        added = {node.into: self._find_answer(result)}
        if node.transcript is not None:
            added[node.transcript] = orjson.dumps(result.transcript()).decode()
        return {**record, **added}

    async def _make_deps(self, record: Record) -> Any:
        if self._node.deps is None:
            return None
        made = self._node.deps(copy_record(record))
        return await made if inspect.isawaitable(made) else made

    def _find_answer(self, result: AgentResult) -> Any:
        if not result.has_output and self._node.on_limit == "land":
            return None
        return result.plain_output


def make_renderer(node: RunAgent, folder: Path) -> PromptRenderer:
    """What makes the messages of a record."""
    return PromptRenderer(
        prompt=node.prompt, system=None, conversation=node.messages, examples=(), images=(), folder=folder
    )
