"""`Stint`: an agent's part of a run, from where the conversation is its own to where it hands it over."""

from __future__ import annotations

from tidemill.agents.opening import OpenAgent
from tidemill.agents.running.purse import Purse
from tidemill.agents.running.repeats import Repeats


class Stint:
    """The turns of one agent in a run, within its own bounds.

    Args:
        opened: the agent.
        purse: what its turns may spend: its own budget, and those around it.

    Attributes:
        turns: it has begun.
        reasks: answers that did not fit.
        repeats: its failing calls.
    """

    __slots__ = ("_max_reasks", "_max_turns", "opened", "purse", "reasks", "repeats", "turns")

    def __init__(self, opened: OpenAgent, purse: Purse) -> None:
        self.opened = opened
        self.purse = purse
        self.repeats = Repeats(opened.agent.max_repeats)
        self.turns = self.reasks = 0
        self._max_turns = opened.agent.max_turns
        self._max_reasks = opened.agent.max_reasks

    @property
    def is_last(self) -> bool:
        """Whether no turn comes behind the one that it has begun."""
        return self.turns >= self._max_turns

    @property
    def may_reask(self) -> bool:
        """Whether it may be asked once more for an answer that fits."""
        return self.reasks <= self._max_reasks
