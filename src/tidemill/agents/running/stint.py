"""`Stint`: an agent's part of a run, from where the conversation is its own to where it hands it over."""

from __future__ import annotations

from typing import NamedTuple

from tidemill.agents.opening import OpenAgent
from tidemill.agents.result import StopReason
from tidemill.agents.running.purse import Purse
from tidemill.agents.running.repeats import Repeats


class Ending(NamedTuple):
    """Why a run ends.

    Attributes:
        owner: the agent whose bound it is, empty for none but whose turn it is.
    """

    reason: StopReason
    owner: str = ""


class Stint:
    """The turns of one agent in a run, within its own bounds and those of the agent that was called.

    Args:
        opened: the agent.
        purse: what its turns may spend: its own budget, and those around it.
        first: the stint of the agent that was called, where that is another; its bounds hold on.

    Attributes:
        repeats: its failing calls.
    """

    __slots__ = ("_calls", "_first", "_reasks", "_turns", "opened", "purse", "repeats")

    def __init__(self, opened: OpenAgent, purse: Purse, first: Stint | None = None) -> None:
        self.opened = opened
        self.purse = purse
        self.repeats = Repeats(opened.agent.max_repeats)
        self._first = first
        self._turns = self._calls = self._reasks = 0

    def begin_turn(self) -> Ending | None:
        """Count another turn; why no further one comes behind it, None where one may."""
        self._turns += 1
        if self._first is not None:
            self._first._turns += 1
        return self._find_end() or (None if self._first is None else self._first._find_end())

    def count_reask(self) -> bool:
        """Count an answer that does not fit; whether it may be asked for again."""
        self._reasks += 1
        return self._reasks <= self.opened.agent.max_reasks

    @property
    def bounds_calls(self) -> bool:
        """Whether anything bounds its calls of tools."""
        first = self._first
        return self.opened.agent.max_tool_calls is not None or (first is not None and first.bounds_calls)

    def find_spent(self) -> int | None:
        """Count another call of a tool, in the order in which they are made; the bound that has no room for it."""
        most = self.opened.agent.max_tool_calls
        if most is not None and self._calls >= most:
            return most
        above = None if self._first is None else self._first.find_spent()
        self._calls += above is None
        return above

    def _find_end(self) -> Ending | None:
        agent = self.opened.agent
        if self._turns >= agent.max_turns:
            return Ending("max_turns", agent.name)
        if agent.max_tool_calls is not None and self._calls >= agent.max_tool_calls:
            return Ending("max_tool_calls", agent.name)
        return None
