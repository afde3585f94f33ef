"""`Outside`: how executions of tools get out, and are kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol
from urllib.parse import quote
from uuid import uuid4

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.calling.places import Places
from tidemill.agents.tools.tool import Tool
from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.limits import MOST, Limits, Price
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request
from tidemill.models.steps.call import make_key
from tidemill.models.steps.calling import KEY_HEADER

FREE = Price(0, 0)

MAX_PLACES = 1_000
"""More than the calls that one turn makes."""

_ALWAYS_S = 1e9
"""A lane's bounds on time, where the execution has its own."""


class Outside(Protocol):
    """How the executions of one run of an agent get out.

    Attributes:
        places: where they run, shared with other runs.
    """

    places: Places

    def ask(self, tool: Tool, turn: int, place: int, request: Request, send: Send) -> Awaitable[ToolOutcome]:
        """The outcome of one call, from the ledger or by `send`, of which it is then committed.

        Failures of the tool are outcomes. What `send` raises ends the run, and is raised as it is.

        Args:
            turn: of the agent, from 1.
            place: of the call in its turn, from 0.
            request: what tells the call from others; goes to `send` with the call's key in the header `KEY_HEADER`.
            send: makes the whole execution; its response is decoded by `ToolOutcome.from_response`. It has its own
                limits on time.
        """
        ...

    def call_home(
        self, fn: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        """What the coroutine function gives, awaited in the loop that its user's objects belong to.

        Cancelling reaches it.
        """
        ...


class EngineOutside:
    """Executions that nothing keeps, by lanes of an engine: of one run of an agent outside a job.

    Args:
        engine: of the running loop.
        places: where they run; closed by whoever made them.
        run: tells the keys of this run's calls from those of all others.
    """

    def __init__(self, engine: Engine, places: Places, *, run: str | None = None) -> None:
        self.places = places
        self._engine = engine
        self._run = uuid4().hex if run is None else run
        self._lanes: dict[str, Lane] = {}

    def ask(self, tool: Tool, turn: int, place: int, request: Request, send: Send) -> Coroutine[Any, Any, ToolOutcome]:
        lane = self._lanes.get(tool.name) or self._open_lane(tool)
        digest = blake2b(request.body, digest_size=16).hexdigest()
        key = make_key(self._run, 0, (), request.url, turn * MAX_PLACES + place, digest)
        keyed = Request(request.url, {KEY_HEADER: key}, request.body, 0, 0)
        return lane.call(keyed, ToolOutcome.from_response, send=send)

    def call_home(
        self, fn: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]:
        return fn(*args, **kwargs)

    def _open_lane(self, tool: Tool) -> Lane:
        lane = self._lanes[tool.name] = open_tool_lane(self._engine, tool)
        return lane


def open_tool_lane(engine: Engine, tool: Tool, key: str = "") -> Lane:
    """The lane of the tool, the same one for the same key: as many slots as it may have executions.

    Args:
        key: by default the tool's name, which then must be that of no other tool of the engine with other limits.
    """
    limits, key = limit_tool(tool.options.concurrency), key or f"tool {tool.name}"
    return engine.lane(key, limits=limits, endpoint=f"tool://{quote(key, safe='')}", price=FREE)


@lru_cache(maxsize=256)
def limit_tool(concurrency: int) -> Limits:
    """The limits of a tool's lane: slots alone, since each execution has tries and limits on time of its own."""
    slots = min(concurrency, MOST)
    return Limits(concurrency=slots, max_attempts=1, attempt_timeout_s=_ALWAYS_S, deadline_s=_ALWAYS_S)
