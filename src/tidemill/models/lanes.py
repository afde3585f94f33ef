"""The way out to a model: its lane, and the server of one that this process starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tidemill.calls.coalesce import Coalescing
from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Limits
from tidemill.calls.outgoing import LaneOptions, Locate
from tidemill.models.endpoints import find_base_url, find_headers, find_transport, open_server
from tidemill.models.managed import ManagedServer, ManagedTransport
from tidemill.models.model import Model
from tidemill.models.serve import Serve
from tidemill.models.tokens import TokenCounter
from tidemill.models.vocabulary import find_vocabulary
from tidemill.resources.scope import Scope


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model that several may share: what is sent with each request, its lane, and the way of repeatable requests."""

    model: Model
    headers: Mapping[str, str]
    lane: Lane
    repeatable: Coalescing


class OpenModels:
    """Models opened by an engine, each once.

    Args:
        folder: where `.env` and relative model paths are looked for.
        send: False where requests are only built: no key and no local model is needed.
    """

    def __init__(self, engine: Engine, scope: Scope, folder: Path, *, send: bool) -> None:
        self._engine = engine
        self._scope = scope
        self._folder = folder
        self._sends = send
        self._open: list[OpenModel] = []

    def find(self, model: Model) -> OpenModel:
        """The model, opened if it is not.

        Raises:
            ConfigError, ResourceError: it cannot be: a key, a package or a file is missing.
        """
        known = next((each for each in self._open if each.model == model), None)
        if known is None:
            headers = find_headers(model, self._folder) if self._sends else {}
            key = f"{model.model}#{len(self._open)}"
            lane = open_lane(model, key, self._engine, self._scope, self._folder if self._sends else None).lane
            repeatable = Coalescing(lane, self._engine.meter)
            self._scope.defer_async(repeatable.close, name=model.model)
            known = OpenModel(model, headers, lane, repeatable)
            self._open.append(known)
        return known


class OpenLane(NamedTuple):
    """The lane of a model, and what gives the base URL of one whose server its first call starts."""

    lane: Lane
    locate: Locate | None = None


def open_lane(model: Model, key: str, engine: Engine, scope: Scope, folder: Path | None) -> OpenLane:
    """The lane of `model` under `key`; a server that is started for it runs until `scope` ends.

    Args:
        folder: where a relative path of a local model or a command is looked for; None where nothing is ever sent.

    Raises:
        ConfigError, ResourceError: a server cannot be started, or the budget cannot be held.
    """
    limits, price = model.lane_limits, model.lane_price
    if model.serve is not None:
        return _open_managed(model, model.serve, key, engine, scope, folder)
    if not model.is_local:
        options = LaneOptions(counter=None if folder is None else _find_counter(model, limits))
        endpoint, transport = find_base_url(model), find_transport(model)
        return OpenLane(
            engine.lane(key, limits=limits, endpoint=endpoint, price=price, options=options, transport=transport)
        )
    locate = None
    if folder is not None:
        server = open_server(model, folder)
        scope.defer_async(server.close, name=model.model)
        locate = server.get
    endpoint, options = f"local://{model.name}", LaneOptions(locate)
    return OpenLane(engine.lane(key, limits=limits, endpoint=endpoint, price=price, options=options), locate)


def _open_managed(model: Model, serve: Serve, key: str, engine: Engine, scope: Scope, folder: Path | None) -> OpenLane:
    limits, endpoint, price = model.lane_limits, f"serve://{model.model}", model.lane_price
    if folder is None:
        return OpenLane(engine.lane(key, limits=limits, endpoint=endpoint, price=price))
    server = ManagedServer(serve, model.base_url, folder)
    scope.defer_async(server.close, name=model.model)
    options = LaneOptions(server.get, _find_counter(model, limits))
    transport = ManagedTransport(HttpTransport(), server)
    lane = engine.lane(key, limits=limits, endpoint=endpoint, price=price, options=options, transport=transport)
    return OpenLane(lane, server.get)


def _find_counter(model: Model, limits: Limits) -> TokenCounter | None:
    """Counts the input of requests by the model's vocabulary, where limits ask for it and it is on this machine."""
    vocabulary = find_vocabulary(model.model) if any(limits.to_rates()[1:]) else None
    return None if vocabulary is None else TokenCounter(vocabulary)
