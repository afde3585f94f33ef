"""What runs behind a client: an engine with one lane, on a loop of its own in a thread beside whoever calls."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from tidemill.models.clients.asking import Asking
from tidemill.models.clients.held import HeldLoop
from tidemill.models.clients.lifetime import Lifetime
from tidemill.models.endpoints import find_headers, make_endpoint
from tidemill.models.formats.endpoint import Endpoint
from tidemill.models.lanes import open_lane
from tidemill.models.messages import Message, Reply
from tidemill.models.model import Model
from tidemill.models.structured.asking import ask_until_valid
from tidemill.models.structured.tallies import Tallies
from tidemill.models.tokens import TokenCounter
from tidemill.resources.scope import Scope

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


class Session(HeldLoop):
    """One model held open.

    Attributes:
        lane: what calls go out by; of the session's loop.

    Raises (constructor): ConfigError, ResourceError: the model cannot be opened: a key, a package or a file is missing,
    or a budget cannot be held.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._endpoints: dict[tuple[int, bool], tuple[Asking, Endpoint, bool]] = {}
        self.lane: Lane
        self._repeatable: Coalescing
        self._locate: Locate | None
        self._headers: Mapping[str, str]
        super().__init__()

    @property
    def model(self) -> Model:
        """What is called."""
        return self._terms.model

    async def ask(self, asking: Asking, messages: Sequence[Message]) -> Any:
        """The reply to `messages`, or with an `output` the object in it; at temperature 0 identical ones are one call.

        Raises:
            PermanentCallError: there is an output, and the model refused or no reply fitted.
            CallError, BudgetError: as the lane raises them.
        """
        _, endpoint, is_repeatable = self._find_endpoint(asking, stream=False)
        way = self._repeatable if is_repeatable else self.lane

        plan = asking.plan_output(self._terms.model)
        tallies = None if plan is None else Tallies("", plan)

        async def ask(number: int, asked: Sequence[Message]) -> Reply:
            request = endpoint.build_request(asked)
            if tallies is not None:
                request = tallies.mark(request, number)
            return self._learn(request, await way.call(request, endpoint.parse_reply))

        async with self._terms.lifetime.bound():
            if plan is None:
                return await ask(0, messages)
            parse = plan.parser.parse_object
            most, ceiling = asking.max_reasks, asking.max_tokens
            return await ask_until_valid(plan, parse, messages, ask, max_reasks=most, max_tokens=ceiling)

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

    async def _open(self, scope: Scope) -> None:
        terms = self._terms
        self._headers = find_headers(terms.model, terms.folder)
        engine = Engine(terms.transport(), rng=random.Random(), budget=terms.budget, meter=terms.meter)
        scope.defer_async(engine.close, name="engine")
        self.lane, self._locate = open_lane(terms.model, terms.model.model, engine, scope, terms.folder)
        self._repeatable = Coalescing(self.lane, terms.meter)
        scope.defer_async(self._repeatable.close, name="calls")
