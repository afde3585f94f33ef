"""The way out to a model: its lane, and the server of a local one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane, Locate
from tidemill.models.endpoints import find_base_url, open_server
from tidemill.models.model import Model
from tidemill.resources.scope import Scope


class OpenLane(NamedTuple):
    """The lane of a model, and what gives the base URL of a local one, which its first call starts."""

    lane: Lane
    locate: Locate | None = None


def open_lane(model: Model, key: str, engine: Engine, scope: Scope, folder: Path) -> OpenLane:
    """The lane of `model` under `key`; the server of a local one runs until `scope` ends.

    Args:
        folder: where a relative path of a local model is looked for.

    Raises:
        ConfigError, ResourceError: a local model cannot be started, or the budget cannot be held.
    """
    limits, price = model.lane_limits, model.lane_price
    if not model.is_local:
        return OpenLane(engine.lane(key, limits=limits, endpoint=find_base_url(model), price=price))
    server = open_server(model, folder)
    scope.defer_async(server.close, model.model)
    endpoint = f"local://{model.name}"
    return OpenLane(engine.lane(key, limits=limits, endpoint=endpoint, price=price, locate=server.get), server.get)
