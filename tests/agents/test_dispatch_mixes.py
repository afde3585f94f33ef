"""Random turns in virtual time: order kept, nothing lost, barriers hold, and the same again from what was kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from toolkit import ask_for, dispatching, make_tool

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.calling.turn import OnError
from tidemill.models.messages import ToolCall
from tidemill.testing import run_virtual

Ending = Literal["value", "raise", "hang", "flicker", "unknown", "invalid"]

EXPECTED: dict[Ending, str] = {
    "value": "ok",
    "raise": "error",
    "hang": "timeout",
    "flicker": "ok",
    "unknown": "unknown",
    "invalid": "invalid",
}

TIMEOUT_S = 50


@dataclass(frozen=True)
class Planned:
    """One call: how long it takes, how it ends, and whether its tool is a barrier."""

    ending: Ending
    takes_s: int
    is_barrier: bool

    def to_call(self, number: int) -> ToolCall:
        name = "nobody" if self.ending == "unknown" else "barrier" if self.is_barrier else "plain"
        text: Any = 5 if self.ending == "invalid" else f"{number} {self.ending} {self.takes_s}"
        return ask_for(name, text=text)


PLANS = st.lists(st.builds(Planned, st.sampled_from(list(EXPECTED)), st.integers(0, 40), st.booleans()), max_size=12)
"""Calls of one turn."""


@dataclass
class Watched:
    """What was seen of executions: when each began and ended, and how many tries it had."""

    began_at: dict[int, float] = field(default_factory=dict)
    ended_at: dict[int, float] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    running: int = 0
    most: int = 0

    async def work(self, text: str) -> str:
        number, ending, takes_s = text.split()
        place, now = int(number), asyncio.get_running_loop().time
        self.began_at.setdefault(place, now())
        self.tries[place] = self.tries.get(place, 0) + 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(2 * TIMEOUT_S if ending == "hang" else int(takes_s))
            if ending == "raise":
                raise ValueError(text)
            if ending == "flicker" and self.tries[place] == 1:
                raise ConnectionError
            return text
        finally:
            self.running -= 1
            self.ended_at[place] = now()


async def run(
    plans: list[Planned], on_error: OnError, parallel: int, rows: dict[Any, bytes], seen: Watched
) -> list[ToolOutcome]:
    """The outcomes of one turn of `plans`."""

    async def plain(text: str) -> str:
        return await seen.work(text)

    async def barrier(text: str) -> str:
        return await seen.work(text)

    options: dict[str, Any] = {"timeout_s": TIMEOUT_S, "retries": 1, "idempotent": True, "concurrency": 4}
    tools = make_tool(plain, **options), make_tool(barrier, sequential=True, **options)
    async with dispatching(*tools, on_error=on_error, parallel=parallel, rows=rows) as dispatcher:
        return await dispatcher.run_turn(1, [plan.to_call(number) for number, plan in enumerate(plans)])


@given(PLANS, st.sampled_from(["continue", "fail_fast", "cancel"]), st.integers(1, 5))
def test_whatever_a_turn_is_made_of(plans: list[Planned], on_error: OnError, parallel: int) -> None:
    """Each call has its own outcome, in order; bounds and barriers hold; what was kept is told the same again."""
    rows: dict[Any, bytes] = {}
    seen = Watched()
    outcomes = run_virtual(run(plans, on_error, parallel, rows, seen))

    assert len(outcomes) == len(plans)
    for number, (plan, outcome) in enumerate(zip(plans, outcomes, strict=True)):
        allowed = {EXPECTED[plan.ending]}
        if on_error != "continue" and plan.ending not in ("unknown", "invalid"):
            allowed.add("cancelled")
        assert outcome.kind in allowed
        if outcome.kind == "ok":
            assert outcome.value.split()[0] == str(number)
        assert outcome.tries == seen.tries.get(number, 0)
    assert seen.most <= min(parallel, 8)
    assert seen.running == 0

    for barrier in (number for number, plan in enumerate(plans) if plan.is_barrier and number in seen.began_at):
        assert all(ended <= seen.began_at[barrier] for number, ended in seen.ended_at.items() if number < barrier)
        assert all(seen.ended_at[barrier] <= began for number, began in seen.began_at.items() if number > barrier)

    failed = [outcome for outcome in outcomes if outcome.kind in ("error", "timeout")]
    assert failed or all(outcome.kind != "cancelled" for outcome in outcomes)
    assert len(rows) == sum(plan.ending not in ("unknown", "invalid") for plan in plans)

    again = Watched()
    assert run_virtual(run(plans, on_error, parallel, rows, again)) == outcomes
    assert again.tries == {}
