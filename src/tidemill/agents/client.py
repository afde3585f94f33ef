"""`AgentClient`: an agent called by itself, and the one that stands behind each `tm.Agent(…)`."""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec.structs

from tidemill.agents.agent import Agent
from tidemill.agents.calling.home import Home
from tidemill.agents.events import Event
from tidemill.agents.feed import AgentEvents
from tidemill.agents.opening import AgentOpener, OpenAgent
from tidemill.agents.result import AgentResult
from tidemill.agents.running.outside import RunOutside
from tidemill.agents.running.purse import Purse
from tidemill.agents.running.run import Observe, Run, Surroundings
from tidemill.agents.running.spending import Spending
from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request, Transport
from tidemill.errors import ConfigError
from tidemill.models.clients.asking import render_messages
from tidemill.models.clients.held import HeldLoop, Holder
from tidemill.models.lanes import OpenModels
from tidemill.models.messages import Message
from tidemill.models.steps.call import make_key
from tidemill.models.steps.calling import KEY_HEADER, Decode
from tidemill.models.steps.lines import Line
from tidemill.models.steps.turns import TurnError, read_turns
from tidemill.resources.scope import Scope
from tidemill.stores.steps.opened import OpenStores

_lock = threading.Lock()
"""Guards the clients below."""
_clients: dict[int, AgentClient] = {}


class AgentSession(HeldLoop):
    """An agent held open: its models, tools and those of the agents below it, by one engine.

    Attributes:
        meter: what its calls came to.
    """

    def __init__(self, agent: Agent, folder: Path, transport: Callable[[], Transport]) -> None:
        self._agent = agent
        self._folder = folder
        self._transport = transport
        self.meter = Meter()
        self._opened: OpenAgent
        super().__init__()

    async def ask(
        self, messages: Sequence[Message], deps: Any, home: Home, observe: Observe | None = None
    ) -> AgentResult:
        """What a run comes to."""
        agent = self._agent
        ask = partial(_ask, token_hex(16))
        outside = RunOutside(ask, home, self._opened.places)
        around = Surroundings(outside, deps, Purse(agent.name, agent.budget), Spending(), observe=observe)
        return await Run(self._opened, around).run(messages)

    async def _open(self, scope: Scope) -> None:
        engine = Engine(self._transport(), rng=random.Random(), meter=self.meter)
        scope.defer_async(engine.close, name="engine")
        models = OpenModels(engine, scope, self._folder, send=True)
        self._opened = AgentOpener(engine, models, scope, stores=OpenStores(scope, self._folder)).open(self._agent)


class AgentClient:
    """One agent, held open. Threads: any.

    Args:
        agent: what is called.
        folder: where `.env` and relative model paths are looked for.
        transport: makes what requests to models go through.
    """

    def __init__(
        self, agent: Agent, *, folder: Path = Path(), transport: Callable[[], Transport] = HttpTransport
    ) -> None:
        # A copy, so that the agent that was given can go, and its client with it.
        self._holder = Holder(partial(AgentSession, agent.model_copy(), folder, transport))

    def run(self, prompt: Any, history: Sequence[Any], deps: Any) -> AgentResult:
        """What a run comes to, its coroutine tools called on the session's loop."""
        messages = join_messages(prompt, history)
        return self._holder.run(lambda session: session.ask, messages, deps, Home())

    async def arun(self, prompt: Any, history: Sequence[Any], deps: Any) -> AgentResult:
        """As `run`, awaited in the running loop, on which coroutine tools are called."""
        messages = join_messages(prompt, history)
        return await self._holder.arun(lambda session: session.ask, messages, deps, Home.here())

    def stream(self, owner: object, prompt: Any, history: Sequence[Any], deps: Any) -> AgentEvents:
        """What happens in a run, as it happens; `owner` is held meanwhile."""
        messages = join_messages(prompt, history)

        def begin(session: AgentSession, home: Home, observe: Callable[[Event], None]) -> Any:
            return session.ask(messages, deps, home, observe)

        return AgentEvents(owner, self._holder.open, begin)

    def close(self) -> None:
        """Close the session, if there is one."""
        self._holder.release()


def get_client(agent: Agent) -> AgentClient:
    """The client behind `agent`: one for each object, whatever else is equal to it, until that goes."""
    client = _clients.get(id(agent))
    if client is None:
        with _lock:
            client = _clients.get(id(agent))
            if client is None:
                client = _clients[id(agent)] = AgentClient(agent)
                weakref.finalize(agent, _clients.pop, id(agent), None)
    return client


def join_messages(prompt: Any, history: Sequence[Any]) -> list[Message]:
    """The messages of a question behind what was said before.

    Raises:
        ConfigError: one of them is none; says which, and why.
    """
    asked = render_messages(prompt, None)
    if not history:
        return asked
    try:
        return [*read_turns(history), *asked]
    except TurnError as error:
        raise ConfigError(error.message, where=f"`history{error.place}`", hint=error.hint) from None


async def _ask(
    run: str, line: Line, number: int, request: Request, send: Send | None = None, decode: Decode | None = None
) -> Any:
    """The reply to a request of a run that nothing keeps."""
    if line.is_keyed:
        digest = blake2b(request.body, digest_size=16).hexdigest()
        key = make_key(run, 0, (), "agent", number, digest)
        request = msgspec.structs.replace(request, headers={**request.headers, KEY_HEADER: key})
    return await line.way.call(request, decode or line.decode, send=send)
