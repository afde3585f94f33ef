"""`Run`: one run of an agent, from the question to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

from tidemill.agents.agent import Agent
from tidemill.agents.calling.dispatcher import Dispatcher
from tidemill.agents.calling.findings import read_arguments
from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.events import Event, Final, TextDelta, ToolEnd, ToolStart, TurnEnd
from tidemill.agents.numbers import number_call
from tidemill.agents.opening import Kit, OpenAgent
from tidemill.agents.result import AgentResult, CallTrace, StopReason, TurnTrace
from tidemill.agents.running.asking import ModelCall
from tidemill.agents.running.history import Measure, bound_history, drop_native, drop_open_calls
from tidemill.agents.running.metered import HeldAttempts
from tidemill.agents.running.outside import RunOutside
from tidemill.agents.running.purse import Purse, Spent
from tidemill.agents.running.spending import Spending
from tidemill.agents.running.stint import Ending, Stint
from tidemill.agents.running.teamwork import ask_team, recall_team
from tidemill.agents.teams import HANDED_ON, HANDED_ON_BEFORE
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.tool import Tool
from tidemill.calls.budget import Pricing
from tidemill.calls.outgoing import Send
from tidemill.models.messages import Message, Reply, ToolCall

logger = logging.getLogger(__name__)

LAST_TURN = "No more tools can be called: this is your last turn. Answer now, with what you have found so far."
UNKEPT = frozenset({"unknown", "invalid", "beyond"})
"""Outcomes that follow from the replies alone, and are no rows."""

Observe = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run is within.

    Attributes:
        outside: how its calls get out, and are kept.
        deps: what its tools get.
        purse: what may be spent.
        spending: what is added up.
        within: the number of the call that the run belongs to, 0 for none.
        observe: told of what happens.
    """

    outside: RunOutside
    deps: Any
    purse: Purse
    spending: Spending
    within: int = 0
    observe: Observe | None = None


class Run:
    """One run of an agent. Belongs to one loop and is used once.

    Args:
        opened: the agent.
        around: what the run is within.
    """

    def __init__(self, opened: OpenAgent, around: Surroundings) -> None:
        self._first = opened
        self._around = around
        self._stint = self._begun = Stint(opened, around.purse)
        self._deadline: asyncio.Timeout | None = None
        self._history: list[Message] = []
        self._gained: list[Message] = []
        self._turns: list[TurnTrace] = []
        self._measure = Measure(opened.agent.model.name)
        self._dispatchers: dict[int, Dispatcher] = {}
        self._answer: tuple[Any, Any] | None = None
        self._asked_teams: set[tuple[int, int]] = set()
        self._text = ""

    @property
    def _opened(self) -> OpenAgent:
        """The agent whose turn it is."""
        return self._stint.opened

    @property
    def _agent(self) -> Agent:
        return self._stint.opened.agent

    async def run(self, messages: Sequence[Message]) -> AgentResult:
        """What comes of `messages`.

        Raises:
            CallError: the model gave no usable reply.
            TidemillError: a failure of the whole run of a job.
        """
        self._add(*messages)
        may_end = self._stint.purse.ends_at is not None or bool(self._first.handoffs)
        try:
            ending = await (self._go_on_until() if may_end else self._go_on())
        except Spent as end:
            ending = Ending("budget", end.owner)
        finally:
            await self._leave_tools()
        result = self.end(ending)
        self._tell(Final, result=result)
        return result

    async def _leave_tools(self) -> None:
        """Leave the sessions of its tools; one that cannot be left takes nothing from what the run came to."""
        for dispatcher in self._dispatchers.values():
            try:
                await dispatcher.close()
            except Exception:  # what a user's session raises on its way out, behind a run that has ended
                logger.warning("a tool's session of the agent %s could not be left", self._agent.name, exc_info=True)

    async def _go_on_until(self) -> Ending:
        """As `_go_on`, up to the deadline of whose turn it is."""
        self._deadline = asyncio.timeout_at(self._stint.purse.ends_at)
        try:
            async with self._deadline:
                return await self._go_on()
        except TimeoutError:
            if not self._deadline.expired():
                raise
            return Ending("deadline", self._stint.purse.ends_by)

    async def _go_on(self) -> Ending:
        """Turns, until there is a reason to stop."""
        for turn in count(1):
            end = self._stint.begin_turn()
            kit = await self._opened.kit()
            is_last = end is not None and bool(kit.tools)
            if is_last and turn > 1:
                self._add(Message(role="user", content=LAST_TURN))
            reply = await self._ask(turn, kit, is_last=is_last)
            self._history.append(reply.to_message())
            self._text = reply.text or self._text
            if reply.refusal:
                self._note_turn(reply, ())
                return Ending("refused")
            if reply.tool_calls and is_last:
                self._note_turn(reply, ())
            elif reply.tool_calls:
                stop = await self._call_tools(turn, kit, reply)
                if stop is not None:
                    return Ending(stop)
            elif self._read_answer(reply):
                return end if end is not None and is_last and turn > 1 else Ending("finished")
            elif not self._stint.count_reask():
                return Ending("no_output")
            if end is not None:
                return end
        raise AssertionError("turns are bounded")

    async def _ask(self, turn: int, kit: Kit, *, is_last: bool) -> Reply:
        opened, around = self._opened, self._around
        on_text = None if around.observe is None else partial(self._tell_text, turn)
        call = ModelCall(opened, kit, self._gained, self._stint.purse, on_text, is_last=is_last)
        messages = bound_history(self._history, self._measure, self._agent.max_history_tokens)
        request = call.build_request([*kit.system, *messages])
        self._gained = []
        reply = await call.ask(around.outside.ask_line, number_call(around.within, turn, 0), request)
        call.note_recalled(request, reply)
        if reply.usage is not None:
            self._measure.learn(len(request.body), reply.usage.input_tokens, messages)
        cost = around.spending.add(reply, opened.pricing, is_priced=opened.is_priced)
        if around.observe is not None:
            self._tell(TurnEnd, turn=turn, usage=reply.usage, cost_usd=cost)
        return reply

    async def _call_tools(self, turn: int, kit: Kit, reply: Reply) -> StopReason | None:
        """Answer the reply's tool calls; why the run ends with them, if it does."""
        calls, handoffs = reply.tool_calls, self._opened.handoffs
        handoff = next((call for call in calls if call["name"] in handoffs), None) if handoffs else None
        outcomes = await self._answer_calls(turn, kit, reply, handoff)
        for call, outcome in zip(calls, outcomes, strict=True):
            message = outcome.to_message(call["id"])
            self._history.append(message)
            if outcome.kind in UNKEPT or call["name"] in handoffs:
                self._gained.append(message)
        self._note_turn(reply, tuple(map(CallTrace, calls, outcomes)))
        if any(outcome.kind == "stopped" for outcome in outcomes):
            return "stopped"
        if self._stint.repeats.note(outcomes):
            return "repeated_error"
        if handoff is not None:
            self._hand_over(handoffs[handoff["name"]])
        return None

    def _hand_over(self, opened: OpenAgent) -> None:
        """Have another agent go on: within its own bounds, and those that the whole run has."""
        agent = opened.agent
        if agent.model.provider != self._agent.model.provider:
            self._history = drop_native(self._history)
        self._stint = Stint(opened, Purse(agent.name, agent.budget, self._around.purse), self._begun)
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(self._stint.purse.ends_at)

    async def _answer_calls(self, turn: int, kit: Kit, reply: Reply, handoff: ToolCall | None) -> list[ToolOutcome]:
        """The outcomes of all calls of `reply`, in their order; that of `handoff` hands the conversation on."""
        calls, handoffs = reply.tool_calls, self._opened.handoffs
        on_start = None if self._around.observe is None else partial(self._tell_start, turn)
        own = calls if handoff is None else [call for call in calls if call["name"] not in handoffs]
        ended: dict[int, ToolOutcome] = {}
        try:
            outcomes = await self._dispatcher(kit).run_turn(turn, own, on_start, partial(self._end_call, turn, ended))
            for place, outcome in enumerate(outcomes):
                if outcome.tool in self._opened.teams and (turn, place) not in self._asked_teams:
                    recall_team(outcome, self._within())
        except BaseException:  # at a deadline, say: how far the turn came is a part of what there is
            self._note_turn(
                reply, tuple(CallTrace(call, ended.get(place) or _cut_off(call)) for place, call in enumerate(own))
            )
            raise
        if handoff is None:
            return outcomes
        answered = iter(outcomes)
        return [_hand_on(call, handoff) if call["name"] in handoffs else next(answered) for call in calls]

    def _dispatcher(self, kit: Kit) -> Dispatcher:
        """What calls the tools of the agent whose turn it is."""
        known = self._dispatchers.get(id(self._opened))
        if known is None:
            agent, around = self._agent, self._around
            tools = kit.called
            if teams := self._opened.teams:
                tools = {**tools, **{name: self._put_in(tools[name]) for name in teams}}
            if metered := {name: self._put_meter(tool) for name, tool in tools.items() if tool.meters}:
                tools = {**tools, **metered}
            known = self._dispatchers[id(self._opened)] = Dispatcher(
                tools,
                on_error=agent.on_tool_error,
                parallel=agent.parallel,
                approve=agent.approve,
                outside=around.outside.of(kit, around.within),
                deps=around.deps,
                agent=agent.name,
                shows_images=agent.shows_images,
                find_spent=self._stint.find_spent if self._stint.bounds_calls else None,
            )
        return known

    def _put_in(self, tool: Tool) -> Tool:
        """The tool that calls agents, with this run around them."""
        return replace(tool, function=partial(self._ask_team, self._opened.teams[tool.name]))

    def _put_meter(self, tool: Tool) -> Tool:
        """The tool that asks a model, each attempt held against the budgets of whose turn it is."""

        def meter(send: Send, pricing: Pricing) -> HeldAttempts:
            return HeldAttempts(self._stint.purse, pricing, send)

        return replace(tool, function=partial(tool.function, meter))

    async def _ask_team(self, team: Sequence[OpenAgent], request: str, context: Context[Any]) -> Any:
        self._asked_teams.add((context.turn, context.place))
        within = number_call(self._around.within, context.turn, context.place + 1)
        return await ask_team(team, request, replace(self._within(), within=within))

    def _within(self) -> Surroundings:
        """What the runs within this one are within now."""
        return replace(self._around, purse=self._stint.purse)

    def _read_answer(self, reply: Reply) -> bool:
        """Whether the reply is the answer; where not, the model is told why."""
        verdict = self._opened.answers.read(reply)
        self._note_turn(reply, (), verdict.complaint)
        if not verdict.complaint:
            self._answer = verdict.value, verdict.plain
            return True
        self._add(Message(role="user", content=verdict.complaint))
        return False

    def _add(self, *messages: Message) -> None:
        """Put messages into the conversation that nothing but its next reply keeps."""
        self._history += messages
        self._gained += messages

    def _note_turn(self, reply: Reply, calls: tuple[CallTrace, ...], note: str = "") -> None:
        self._turns.append(
            TurnTrace(self._agent.name, reply.text, reply.reasoning, reply.usage, calls, note or reply.refusal)
        )

    def end(self, ending: Ending) -> AgentResult:
        """What it has come to so far."""
        spending = self._around.spending
        return AgentResult(
            self._first.agent.name,
            self._text,
            ending.reason,
            drop_open_calls(self._history),
            tuple(self._turns),
            spending.usage,
            spending.cost_usd,
            ending.owner or self._agent.name,
            self._answer,
        )

    def _tell(self, kind: type[Event], **fields: Any) -> None:
        if self._around.observe is not None:
            turn = fields.pop("turn", len(self._turns))
            self._around.observe(kind(self._opened.path, turn, **fields))

    def _tell_text(self, turn: int, text: str, starts_anew: bool) -> None:
        self._tell(TextDelta, turn=turn, text=text, starts_anew=starts_anew)

    def _tell_start(self, turn: int, _: int, call: ToolCall) -> None:
        self._tell(ToolStart, turn=turn, call=call)

    def _end_call(
        self, turn: int, ended: dict[int, ToolOutcome], place: int, call: ToolCall, outcome: ToolOutcome
    ) -> None:
        ended[place] = outcome
        self._tell(ToolEnd, turn=turn, call=call, outcome=outcome)


def _hand_on(call: ToolCall, taken: ToolCall) -> ToolOutcome:
    """The outcome of a call that hands the conversation on; of several, the first one counts."""
    if call is taken:
        return ToolOutcome(call["name"], {}, "ok", HANDED_ON)
    return ToolOutcome(call["name"], {}, "cancelled", HANDED_ON_BEFORE)


def _cut_off(call: ToolCall) -> ToolOutcome:
    """The outcome of a call that had none yet when its run ended."""
    return ToolOutcome(call["name"], read_arguments(call), "cancelled", "The run ended before it gave anything.")
