"""`Dispatcher`: makes the calls that a model asks for, turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from tidemill.agents.calling.execution import Execution
from tidemill.agents.calling.findings import find_beyond, find_invalid, find_spent, find_unknown, keep_json
from tidemill.agents.calling.isolation import check_isolated
from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.calling.outside import Outside
from tidemill.agents.calling.sessions import Sessions
from tidemill.agents.calling.turn import OnError, Run, Turn
from tidemill.agents.tools.options import Approve as DecideOn
from tidemill.agents.tools.tool import Tool
from tidemill.calls.gather import run_together
from tidemill.calls.wire import Request
from tidemill.models.messages import ToolCall

PARALLEL = 32
"""Calls of one turn at once."""

MAX_CALLS = 999
"""Calls of one turn that are made: the number by which a call is kept has three digits for its place."""

OnStart = Callable[[int, ToolCall], object]
"""Told of a call before anything is done for it: its place in the turn, from 0, and the call."""

OnEnd = Callable[[int, ToolCall, ToolOutcome], object]
"""Told of a call's outcome, once that is committed."""


class Dispatcher:
    """Makes the calls of one run of an agent: checked, within bounds, each kept as soon as it has ended.

    Whatever becomes of a call is an outcome, which the model is told; only what is the run's failure is raised. Belongs
    to one loop; `close` it when the run ends.

    Args:
        tools: by their names.
        on_error: what a failed call does to the others of its turn. Whatever it says, each has an outcome, which is
            committed, so that a run that goes on later tells the model the same.
        parallel: calls of one turn at once, besides what each tool may have.
        approve: decides on the calls of tools that need it and name nobody themselves; None refuses those.
        outside: how executions get out, and are kept.
        deps: what contexts give the tools.
        agent: the agent's name.
        shows_images: whether its model can be shown pictures in results.
        find_spent: asked in front of each call that can be made, in their order: the bound on the calls of the run that
            has no room for it, None where it has.

    Raises:
        ConfigError: an isolated tool's function cannot be found by another process.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        *,
        outside: Outside,
        on_error: OnError = "continue",
        parallel: int = PARALLEL,
        approve: DecideOn | None = None,
        deps: Any = None,
        agent: str = "",
        shows_images: bool = True,
        find_spent: Callable[[], int | None] | None = None,
    ) -> None:
        self._tools = tools
        self._on_error: OnError = on_error
        self._parallel = parallel
        self._outside = outside
        self._find_spent = find_spent
        self._sessions = Sessions(outside)
        self._run = Run(outside, self._sessions, approve, deps, agent, shows_images)
        for tool in tools.values():
            if tool.options.isolate:
                check_isolated(tool)

    async def run_turn(
        self,
        turn: int,
        calls: Sequence[ToolCall],
        on_start: OnStart | None = None,
        on_end: OnEnd | None = None,
    ) -> list[ToolOutcome]:
        """The outcomes of all `calls` of one reply, in their order.

        A call that names no tool, whose arguments do not fit, or that stands behind as many as may be made is answered
        at once and is no row. Others start in order; a sequential tool's waits for all in front of it, and all behind
        wait for it. A decision to stop lets no further one start.

        Order: of the calls.
        Cancelling reaches every execution and is raised once none is left but those that cannot be ended.
        Resume: outcomes that were committed are recalled, and not executed again.

        Args:
            turn: of the agent, from 1.

        Raises:
            TidemillError: the failure is the run's; the other calls are cancelled first, and what had ended is kept.
        """
        shared = Turn(turn, self._on_error)
        if len(calls) == 1:
            return [await self._call(shared, 0, calls[0], on_start, on_end)]
        outcomes: list[Any] = [None] * len(calls)

        async def work(places: Iterator[int]) -> None:
            for place in places:
                outcomes[place] = await self._call(shared, place, calls[place], on_start, on_end)

        for places in self._iter_stretches(calls):
            shares = iter(places)
            await run_together(work(shares) for _ in range(min(self._parallel, len(places))))
        return outcomes

    async def close(self) -> None:
        """Leave the tools' sessions, the last opened first.

        Raises:
            BaseException: one could not be left.
        """
        await self._sessions.close()

    def _iter_stretches(self, calls: Sequence[ToolCall]) -> Iterator[range]:
        """The places of calls that may be under way together, one stretch after another."""
        start = 0
        for place, call in enumerate(calls):
            tool = self._tools.get(call["name"])
            if tool is not None and tool.options.sequential:
                if start < place:
                    yield range(start, place)
                yield range(place, place + 1)
                start = place + 1
        if start < len(calls):
            yield range(start, len(calls))

    async def _call(
        self, turn: Turn, place: int, call: ToolCall, on_start: OnStart | None, on_end: OnEnd | None
    ) -> ToolOutcome:
        if on_start is not None:
            on_start(place, call)
        outcome = await self._answer(turn, place, call)
        if on_end is not None:
            on_end(place, call, outcome)
        return outcome

    async def _answer(self, turn: Turn, place: int, call: ToolCall) -> ToolOutcome:
        if place >= MAX_CALLS:
            return find_beyond(call, MAX_CALLS)
        tool = self._tools.get(call["name"])
        if tool is None:
            return find_unknown(call, self._tools)
        arguments = tool.signature.check(call["arguments"])
        if arguments.values is None:
            return find_invalid(call, arguments)
        if self._find_spent is not None and (most := self._find_spent()) is not None:
            return find_spent(call, most)
        given, body = _pack(tool, arguments.given)
        execution = Execution(self._run, turn, place, call, tool, arguments, given)
        request = Request(f"tool:{tool.name}", {}, body, 0, 0)
        outcome = await self._outside.ask(tool, turn.number, place, request, execution.send)
        if not execution.was_sent:
            self._run.forgotten[tool.name] = self._run.forgotten.get(tool.name, 0) + 1
        turn.note(outcome)
        return outcome


def _pack(tool: Tool, arguments: Any) -> tuple[Any, bytes]:
    """The arguments as they are kept, and what tells the call from others: with them, their keys in order, the name."""
    told = {"tool": tool.name, "stamp": tool.stamp} if tool.stamp else {"tool": tool.name}
    try:
        return arguments, orjson.dumps({**told, "arguments": arguments}, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        kept = keep_json(arguments)
        return kept, orjson.dumps({**told, "arguments": kept})
