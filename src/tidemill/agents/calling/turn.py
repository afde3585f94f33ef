"""What the calls of one turn, and of one run, have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.calling.outside import Outside
from tidemill.agents.calling.sessions import Sessions
from tidemill.agents.tools.options import Approve as DecideOn

OnError = Literal["continue", "fail_fast", "cancel"]
"""What a failed call does to the others of its turn: nothing; no further one starts; nor do those in flight go on."""

FAILED = frozenset({"error", "timeout"})
"""Outcomes by which a call has failed: what the model can mend, or somebody has refused, is no failure of the turn."""


class Interruptible(Protocol):
    """An execution in flight."""

    def interrupt(self) -> None:
        """End it; its outcome is then `cancelled`."""
        ...


@dataclass(slots=True)
class Run:
    """One run of an agent, as its calls see it.

    Attributes:
        shows_images: whether the model can be shown pictures in results.
        forgotten: by tool, how many outcomes came from the ledger.
    """

    outside: Outside
    sessions: Sessions
    approve: DecideOn | None
    deps: Any
    agent: str
    shows_images: bool = True
    forgotten: dict[str, int] = field(default_factory=dict)


class Turn:
    """One turn: its calls in flight, and whether others may still start.

    Attributes:
        number: of the agent, from 1.
        halted: why no further call of the turn starts, empty while they may.
        interrupts: whether those in flight end then, too.
        running: the executions in flight, where they may be interrupted.
    """

    __slots__ = ("_on_error", "halted", "interrupts", "number", "running")

    def __init__(self, number: int, on_error: OnError) -> None:
        self.number = number
        self.halted = ""
        self.interrupts = on_error == "cancel"
        self.running: set[Interruptible] = set()
        self._on_error = on_error

    def note(self, outcome: ToolOutcome) -> None:
        """Take what became of a call into account."""
        if self.halted:
            return
        if outcome.kind == "stopped":
            self.halted = f"the run was stopped at the call of `{outcome.tool}`"
        elif self._on_error != "continue" and outcome.kind in FAILED:
            self.halted = f"`{outcome.tool}` failed in the same turn"
            for execution in tuple(self.running):
                execution.interrupt()
