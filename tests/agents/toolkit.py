"""What tests of calling tools are made of: a plain signature, tools of functions, a dispatcher on an engine."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from tidemill.agents.calling.dispatcher import Dispatcher
from tidemill.agents.calling.home import Home
from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.agents.calling.outside import EngineOutside
from tidemill.agents.calling.places import Places
from tidemill.agents.tools.options import ToolOptions
from tidemill.agents.tools.tool import Arguments, OpenSession, Tool
from tidemill.calls.engine import Engine
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request, Response
from tidemill.errors import Place, Problem
from tidemill.models.messages import ToolCall
from tidemill.models.steps.calling import KEY_HEADER
from tidemill.resources.threads import Threads
from tidemill.testing import ScriptedTransport

T = TypeVar("T")


@dataclass(frozen=True)
class Taking:
    """A signature of named arguments, each of a type, all optional."""

    types: Mapping[str, type]
    schema: Mapping[str, Any] = field(default_factory=dict)

    def check(self, arguments: Any) -> Arguments:
        given = orjson.loads(arguments) if isinstance(arguments, str) else arguments
        problems = tuple(
            Problem(f"expected {self.types[name].__name__}", Place(f"$.{name}"))
            if name in self.types
            else Problem("unknown key", Place(f"$.{name}"))
            for name, value in given.items()
            if name not in self.types or not isinstance(value, self.types[name])
        )
        return Arguments(None if problems else given, given, problems)

    def write(self, arguments: Arguments, *, reveals: bool = False) -> Mapping[str, Any]:
        assert arguments.values is not None
        return arguments.values


def make_tool(fn: Callable[..., Any], *, open_session: OpenSession | None = None, **options: Any) -> Tool:
    """A tool of a function; its arguments' types are its annotations, its `context` gets the context."""
    hints = inspect.get_annotations(fn, eval_str=True)
    types = {name: kind for name, kind in hints.items() if name not in ("return", "context")}
    return Tool(
        fn.__name__,
        "",
        Taking(types),
        fn,
        ToolOptions(**options),
        context="context" if "context" in hints else "",
        is_async=inspect.iscoroutinefunction(fn),
        open_session=open_session,
    )


def ask_for(name: str, /, **arguments: Any) -> ToolCall:
    """A call, as a model would ask for it."""
    return ToolCall(id=f"call-{name}", name=name, arguments=orjson.dumps(arguments).decode())


class KeepingOutside(EngineOutside):
    """Keeps outcomes as a ledger does, as rows of JSON, and recalls them.

    Attributes:
        rows: by tool, turn, place and request.
        keys: of the calls that were sent.
    """

    def __init__(self, engine: Engine, places: Places, rows: dict[tuple[Any, ...], bytes] | None, home: Home) -> None:
        super().__init__(engine, places, run="run")
        self.rows = {} if rows is None else rows
        self.call_home = home.call  # type: ignore[method-assign]
        self.keys: list[str] = []

    async def ask(self, tool: Tool, turn: int, place: int, request: Request, send: Send) -> ToolOutcome:
        number = (tool.name, turn, place, request.body)
        if number in self.rows:
            return ToolOutcome.from_row(orjson.loads(self.rows[number]))

        async def note(keyed: Request, timeout_s: float) -> Response:
            self.keys.append(keyed.headers[KEY_HEADER])
            return await send(keyed, timeout_s)

        outcome = await super().ask(tool, turn, place, request, note)
        self.rows[number] = orjson.dumps(outcome.to_row())
        return outcome


@asynccontextmanager
async def dispatching(
    *tools: Tool,
    rows: dict[tuple[Any, ...], bytes] | None = None,
    home: Home | None = None,
    threads: int | None = None,
    **options: Any,
) -> AsyncIterator[Dispatcher]:
    """A dispatcher of `tools`, closed on the way out.

    Args:
        rows: where outcomes are kept.
        home: where coroutine functions are called.
        threads: how many there are for plain ones.
    """
    async with Engine(ScriptedTransport([]), rng=random.Random(0)) as engine:
        places = Places(random.Random(0))
        if threads is not None:
            places.threads = Threads("tool", lambda: threads)
        outside = KeepingOutside(engine, places, rows, home or Home())
        dispatcher = Dispatcher({tool.name: tool for tool in tools}, outside=outside, **options)
        try:
            yield dispatcher
        finally:
            try:
                await dispatcher.close()
            finally:
                await places.close()


async def call_once(tool: Tool, *, arguments: Mapping[str, Any] | None = None, **options: Any) -> ToolOutcome:
    """The outcome of one call of `tool`."""
    async with dispatching(tool, **options) as dispatcher:
        [outcome] = await dispatcher.run_turn(1, [ask_for(tool.name, **(arguments or {}))])
        return outcome


async def until(is_so: Callable[[], bool]) -> None:
    """Return once `is_so`; the loop goes round meanwhile."""
    while not is_so():  # noqa: ASYNC110 - no event tells it: what is waited for is the loop's own state
        await asyncio.sleep(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose time a test may put forward: what waits in threads does not keep it.

    Attributes:
        ahead_s: how far.
    """

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def run_jumping(main: Callable[[JumpingLoop], Coroutine[Any, Any, T]]) -> T:
    """What `main` gives on a loop that it may put forward."""
    loop = JumpingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))
