"""`RunOutside`: how the calls of a run get out, are kept, and find the loop they belong to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec.structs

from tidemill.agents.calling.home import Home
from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.calling.places import Places
from tidemill.agents.numbers import number_call
from tidemill.agents.opening import Kit
from tidemill.agents.tools.tool import Tool
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request
from tidemill.models.steps.lines import StepAsk


class RunOutside:
    """An `Outside` of tool calls, by lines.

    Args:
        ask: sends a request by a line, or recalls its reply.
        home: where coroutine functions belong.
        places: where executions run beside the loop.
        kit: the tools, with their lines.
        within: the number of the call that the run belongs to.
    """

    def __init__(
        self,
        ask: StepAsk,
        home: Home,
        places: Places,
        kit: Kit | None = None,
        within: int = 0,
    ) -> None:
        self.ask_line = ask
        self.home = home
        self.places = places
        self._kit = kit
        self._within = within

    def of(self, kit: Kit, within: int) -> RunOutside:
        """The same for the tools of one agent, in a run within the call of this number."""
        return RunOutside(self.ask_line, self.home, self.places, kit, within)

    def ask(self, tool: Tool, turn: int, place: int, request: Request, send: Send) -> Awaitable[ToolOutcome]:
        """The outcome of one execution, which `send` makes, or the one committed before."""
        assert self._kit is not None
        number = number_call(self._within, turn, place + 1)
        counted = msgspec.structs.replace(request, tally=self._kit.tallies.get(tool.name))
        return self.ask_line(self._kit.lines[tool.name], number, counted, send)

    def call_home(
        self, fn: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """What a coroutine function gives, awaited in the loop it belongs to."""
        return self.home.call(fn, *args, **kwargs)
