"""What runs behind a client: an engine with one lane, on a loop of its own in a thread beside whoever calls."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from tidemill.calls.budget import BudgetLedger
from tidemill.calls.coalesce import Coalescing
from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.lane import Lane
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import Locate, Send
from tidemill.calls.retry import judge_response
from tidemill.calls.wire import Request, Response, Transport
from tidemill.errors import ResourceError
from tidemill.models.clients.asking import Asking
from tidemill.models.clients.lifetime import Lifetime
from tidemill.models.endpoints import find_headers, make_endpoint
from tidemill.models.formats.endpoint import Endpoint
from tidemill.models.lanes import open_lane
from tidemill.models.messages import Message, Reply
from tidemill.models.model import Model
from tidemill.models.structured.asking import OutputParser, ask_until_valid
from tidemill.models.tokens import TokenCounter
from tidemill.resources.bridge import Bridge
from tidemill.resources.scope import Scope
from tidemill.resources.worker import THREAD_PREFIX

T = TypeVar("T")

COUNT_TIMEOUT_S = 60.0
"""Seconds that a local server may take to count tokens, while it computes others."""
MAX_ENDPOINTS = 64
"""Sets of options whose requests' constant parts are kept."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session is opened from, and what outlives it.

    Attributes:
        model: what is called.
        folder: where `.env` and relative model paths are looked for.
        transport: makes what requests go through.
        budget: what may be spent, and has been.
        lifetime: how long calls may go on.
        meter: what calls came to.
        counter: learns what the server counts.
    """

    model: Model
    folder: Path = Path()
    transport: Callable[[], Transport] = HttpTransport
    budget: BudgetLedger | None = None
    lifetime: Lifetime = field(default_factory=lambda: Lifetime(None))
    meter: Meter = field(default_factory=Meter)
    counter: TokenCounter = field(default_factory=TokenCounter)


class SessionClosed(Exception):  # noqa: N818 - a word between a session and its client, which opens another
    """The session was closed before the call was begun."""


class Session:
    """One model held open. Knows nothing of its client, so that this can go.

    `run`, `arun` and `call` may be used from any thread but its own.

    Attributes:
        pid: the process it runs in; a fork of it has none.
        is_closed: whether it is closed, or about to be.
        lane: what calls go out by; of the session's loop.

    Raises (constructor): ConfigError, ResourceError: the model cannot be opened: a key, a package or a file is missing,
    or a budget cannot be held.
    """

    def __init__(self, terms: Terms) -> None:
        self.pid = os.getpid()
        self._terms = terms
        self._state = threading.Condition()  # guards the two below
        self._users = 0
        self.is_closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scope = Scope()
        self._endpoints: dict[tuple[int, bool], tuple[Asking, Endpoint, bool]] = {}
        self.lane: Lane
        self._repeatable: Coalescing
        self._locate: Locate | None
        self._headers: Mapping[str, str]
        with ExitStack() as held:
            self._bridge = held.enter_context(Bridge(calms_gc=False))
            self._bridge.run(self._start())
            self._held = held.pop_all()

    def run(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """What the coroutine of `fn(*args)` gives, run on the session's loop.

        Raises:
            SessionClosed: nothing was begun.
            ResourceError: the session was closed meanwhile.
        """
        with self._use():
            return self._bridge.run(self._track(fn(*args)))

    async def arun(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """As `run`, awaited in another loop; cancelling it cancels the coroutine."""
        with self._use():
            return await self._bridge.arun(self._track(fn(*args)))

    def call(self, fn: Callable[..., object], *args: Any) -> None:
        """Have `fn(*args)` called in the session's loop soon, unless that is closed."""
        with suppress(SessionClosed), self._use():
            self._bridge.call(fn, *args)

    def close(self) -> None:
        """Cancel what is in flight and release everything; may be called twice, and in a fork, where it does nothing.

        Waits until whoever uses it has what became of that.
        """
        if self.pid != os.getpid():
            return
        with self._state:
            if self.is_closed:
                return
            self.is_closed = True
        with self._held:
            self._bridge.run(self._cancel())
            with self._state:
                self._state.wait_for(lambda: not self._users)
            self._bridge.run(self._scope.__aexit__(None, None, None))

    def abandon(self) -> None:
        """Release what nobody holds any more: the collector may call this in any thread, also in one of its own."""
        if threading.current_thread().name.startswith(THREAD_PREFIX):
            threading.Thread(target=self.close, name=f"{THREAD_PREFIX}close").start()
        else:
            self.close()

    async def ask(self, asking: Asking, messages: Sequence[Message]) -> Any:
        """The reply to `messages`, or with an `output` the object in it; at temperature 0 identical ones are one call.

        Raises:
            PermanentCallError: there is an output, and the model refused or no reply fitted.
            CallError, BudgetError: as the lane raises them.
        """
        _, endpoint, is_repeatable = self._find_endpoint(asking, stream=False)
        way = self._repeatable if is_repeatable else self.lane

        async def ask(number: int, asked: Sequence[Message]) -> Reply:
            return self._learn(request := endpoint.build_request(asked), await way.call(request, endpoint.parse_reply))

        async with self._terms.lifetime.bound():
            if asking.output is None:
                return await ask(0, messages)
            parser = OutputParser(asking.output)
            return await ask_until_valid(
                parser, parser.parse_object, messages, ask, max_reasks=asking.max_reasks, max_tokens=asking.max_tokens
            )

    async def send(self, request: Request, decode: Callable[[Response], Reply], send: Send) -> Reply:
        """The reply that `decode` makes of the answer to `request`, a call of its own; `send` makes its attempts."""
        async with self._terms.lifetime.bound():
            return self._learn(request, await self.lane.call(request, decode, send=send))

    async def count_local(self, prompt: str | Sequence[Message]) -> int:
        """The tokens that a local model's own server counts: of a text, or of messages as it is asked them."""
        assert self._locate is not None
        base_url = await self._locate()
        if isinstance(prompt, str):
            url, body = base_url.removesuffix("/v1") + "/tokenize", orjson.dumps({"content": prompt})
        else:  # what llama.cpp's server has for both of its wire formats
            url = f"{base_url}/chat/completions/input_tokens"
            body = self.endpoint(Asking()).build_request(prompt).body
        request = Request(url, {"content-type": "application/json"}, body)
        response = await self.lane.send(request, COUNT_TIMEOUT_S)
        if response.status != 200:
            raise judge_response(response, request, wall_s=time.time())
        counted = orjson.loads(response.body)
        return len(counted["tokens"]) if isinstance(prompt, str) else int(counted["input_tokens"])

    def endpoint(self, asking: Asking, *, stream: bool = False) -> Endpoint:
        """Where and how the model is asked with these options; the same one for the same object."""
        return self._find_endpoint(asking, stream=stream)[1]

    def _find_endpoint(self, asking: Asking, *, stream: bool) -> tuple[Asking, Endpoint, bool]:
        """What `endpoint` gives, and whether its requests are repeatable."""
        key = id(asking), stream
        known = self._endpoints.get(key)
        if known is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                self._endpoints.clear()
            model = self._terms.model
            options = asking.options(model, stream=stream)
            endpoint = make_endpoint(model, self._headers, options)
            # The asking is held along with it, so that the id stays its own.
            known = self._endpoints[key] = (asking, endpoint, options.is_repeatable)
        return known

    def _learn(self, request: Request, reply: Reply) -> Reply:
        """`reply`, which told what `request` came to."""
        if reply.usage is not None:
            self._terms.counter.learn(request, reply.usage)
        return reply

    async def _start(self) -> None:
        terms = self._terms
        await self._scope.__aenter__()
        try:
            self._headers = find_headers(terms.model, terms.folder)
            engine = Engine(terms.transport(), rng=random.Random(), budget=terms.budget, meter=terms.meter)
            self._scope.defer_async(engine.close, name="engine")
            key = terms.model.model
            self.lane, self._locate = open_lane(terms.model, key, engine, self._scope, terms.folder)
            self._repeatable = Coalescing(self.lane, terms.meter)
            self._scope.defer_async(self._repeatable.close, name="calls")
        except BaseException as exc:
            await self._scope.__aexit__(type(exc), exc, exc.__traceback__)
            raise

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the session's loop, in which this is called, that closing ends as well."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def check_open(self) -> None:
        """Say to whoever waits for a call that was cancelled when it was the closing that did so.

        Raises:
            ResourceError: the session is closed, or about to be.
        """
        if self.is_closed:
            raise ResourceError(
                "the client was closed while a call was in flight", hint="close it when all calls have ended"
            )

    async def _track(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await `coroutine`, so that closing can end it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await coroutine
        except asyncio.CancelledError:
            self.check_open()
            raise
        finally:
            self._tasks.discard(task)

    async def _cancel(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @contextmanager
    def _use(self) -> Iterator[None]:
        with self._state:
            if self.is_closed:
                raise SessionClosed
            self._users += 1
        try:
            yield
        finally:
            with self._state:
                self._users -= 1
                self._state.notify_all()
