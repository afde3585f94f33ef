"""`Client`: a model asked by itself, and the one that stands behind each `tm.model(…)`."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.calls.budget import BudgetLedger
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.limits import Budget
from tidemill.calls.wire import Transport
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError
from tidemill.models.clients.answers import Answers, OnError
from tidemill.models.clients.askable import Askable
from tidemill.models.clients.asking import Asking, load_asking, render_messages
from tidemill.models.clients.deltas import Deltas
from tidemill.models.clients.held import Holder
from tidemill.models.clients.lifetime import Lifetime
from tidemill.models.clients.partials import Partials
from tidemill.models.clients.session import Session, Terms
from tidemill.models.endpoints import make_endpoint
from tidemill.models.model import Model
from tidemill.models.tokens import TokenCounter
from tidemill.models.vocabulary import find_vocabulary

MIN_WINDOW = 16
"""Prompts that are read ahead at least."""
MAX_ASKINGS = 64
"""Sets of options that are kept checked."""

_lock = threading.Lock()
"""Guards the clients below."""
_clients: dict[int, Client] = {}


class Client(Askable):
    """One model, held open: what `tm.model(…).open(…)` gives.

    Threads: any. Asking it is what `Askable` says; each has slots, pace and budget of its own.

    Args:
        model: what is asked.
        budget: the most it may spend in its life, and how long that is, counted from here on.
        folder: where `.env` and relative model paths are looked for.
        transport: makes what requests go through.
    """

    def __init__(
        self,
        model: Model,
        *,
        budget: Budget | None = None,
        folder: Path = Path(),
        transport: Callable[[], Transport] = HttpTransport,
    ) -> None:
        # A copy, so that the model that was given can go, and its client with it.
        ledger = None if budget is None else BudgetLedger(budget, durable=False)
        lifetime = Lifetime(None if budget is None else budget.deadline)
        self._terms = Terms(model.model_copy(), folder, transport, ledger, lifetime)
        self._holder = Holder(partial(Session, self._terms))
        self._askings: dict[Any, Asking] = {}

    @property
    def model(self) -> Model:
        """What is asked."""
        return self._terms.model

    @property
    def calls(self) -> Mapping[str, Any]:
        """Calls, attempts, tokens, cost and latency percentiles so far, as a run's report has them."""
        return self._terms.meter.describe()

    def load_asking(self, output: Any, options: Mapping[str, Any]) -> Asking:
        """The options, checked; the same object for the same ones.

        Raises:
            ConfigError: one is unknown or out of its bounds; all of them at once.
        """
        key = (output, *sorted(options.items()))
        try:
            known = self._askings.get(key)
        except TypeError:  # a list or a mapping among them
            return load_asking({"output": output, **options}, self.model)
        if known is None:
            known = load_asking({"output": output, **options}, self.model)
            if len(self._askings) >= MAX_ASKINGS:
                self._askings.clear()
            self._askings[key] = known
        return known

    def run(self, asking: Asking, prompt: Any) -> Any:
        """The answer to `prompt`."""
        messages = render_messages(prompt, asking.system)
        return self._holder.run(lambda session: session.ask, asking, messages)

    async def arun(self, asking: Asking, prompt: Any) -> Any:
        """As `run`, awaited in the running loop."""
        messages = render_messages(prompt, asking.system)
        return await self._holder.arun(lambda session: session.ask, asking, messages)

    def map_prompts(
        self, owner: object, prompts: Iterable[Any], asking: Asking, *, ordered: bool, on_error: OnError
    ) -> Answers[Any]:
        """The answers to `prompts`; `owner` is held meanwhile."""
        if on_error not in ("raise", "return"):
            raise ConfigError(f'expected on_error="raise" or "return", got {describe_value(on_error)}')
        if isinstance(prompts, (str, bytes)) or not isinstance(prompts, Iterable):
            raise ConfigError(
                f"expected an iterable of prompts, got {describe_value(prompts)}",
                hint="one prompt is asked by calling the model: model(prompt)",
            )

        def begin(session: Session) -> Callable[[Any], Coroutine[Any, Any, Any]]:
            async def ask(prompt: Any) -> Any:
                return await session.ask(asking, render_messages(prompt, asking.system))

            return ask

        window = max(MIN_WINDOW, 2 * self.model.lane_limits.slots)
        return Answers(owner, self._holder.open, prompts, begin, window=window, ordered=ordered, on_error=on_error)

    def stream_prompt(self, owner: object, prompt: Any, asking: Asking) -> Deltas | Partials[Any]:
        """The reply to `prompt`, piece by piece; `owner` is held meanwhile."""
        messages = render_messages(prompt, asking.system)
        if asking.output is None:
            return Deltas(owner, self._holder.open, asking, messages)
        return Partials(owner, self._holder.open, asking, messages)

    def count_prompt(self, prompt: Any) -> int:
        """The tokens of a text, or of messages as the input of a call."""
        messages = render_messages(prompt, None)
        model, counter = self.model, self._terms.counter
        if model.is_local:
            session = self._holder.open()
            return session.run(session.count_local, prompt if isinstance(prompt, str) else messages)
        vocabulary = find_vocabulary(model.model)
        if vocabulary is not None:
            counter = TokenCounter(vocabulary)
        if isinstance(prompt, str):
            return counter.count_text(prompt)
        return counter.estimate(make_endpoint(model, {}, Asking().options(model)).build_request(messages))

    def fork(self, budget: Budget | None) -> Client:
        """Another client of the same model."""
        return Client(self.model, budget=budget, folder=self._terms.folder, transport=self._terms.transport)

    def release(self) -> None:
        """Close the session, if there is one."""
        self._holder.release()

    def __repr__(self) -> str:
        return f"<Client: {self.model.model}>"

    def _get_client(self) -> Client:
        return self


def get_client(model: Model) -> Client:
    """The client behind `model`: one for each object, whatever else is equal to it, until that goes."""
    client = _clients.get(id(model))
    if client is None:
        with _lock:
            client = _clients.get(id(model))
            if client is None:
                client = _clients[id(model)] = Client(model)
                weakref.finalize(model, _clients.pop, id(model), None)
    return client


def _renew_lock() -> None:
    """In a fork: another thread of the parent may have held the lock, and none is there to give it back."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
