"""`ToolWays`: how tools get out that ask models themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tidemill.calls.budget import Pricing
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Usage
from tidemill.models.lanes import OpenModels
from tidemill.stores.steps.opened import OpenStores


@dataclass(frozen=True, slots=True)
class ToolWays:
    """How the tools of one source get out.

    Attributes:
        models: those of whoever has the tools, by its engine: limits, budget and report are shared.
        stores: those that it has open.
        label: what the labels begin with that their calls are counted under.
    """

    models: OpenModels
    stores: OpenStores
    label: str


class Metered(Protocol):
    """The attempts of one call of a model, held against the budgets of the run of an agent that it is made in."""

    @property
    def send(self) -> Send:
        """What makes each attempt."""
        ...

    def settle(self, usage: Usage | None) -> None:
        """The call was answered, and took these tokens; None where nobody knows."""
        ...


Meter = Callable[[Send, Pricing], Metered]
"""Holds the attempts that are sent like this, at this price; the function of a tool that `meters` gets one."""
