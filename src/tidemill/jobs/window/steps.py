"""The steps of a record half: functions compiled, models opened, each with its lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane, LaneOptions
from tidemill.calls.wire import Response
from tidemill.data.failures import exit_error
from tidemill.data.nodes.node import Node
from tidemill.jobs.records.step import RecordStep, Shape, compile_step
from tidemill.models.endpoints import find_base_url, find_headers, find_transport, make_endpoint, open_server
from tidemill.models.generate import Generate, Generator
from tidemill.models.messages import Reply
from tidemill.models.model import Model
from tidemill.resources.scope import Scope


@dataclass(frozen=True, slots=True)
class FunctionStep:
    """A step of the record half that is a function of the record; `index` is its place in the counts."""

    index: int
    function: RecordStep
    shape: Shape

    generator: ClassVar[None] = None

    def explain(self, error: BaseException) -> BaseException:
        """What a failure of the function means."""
        return self.function.explain(error)


@dataclass(frozen=True, slots=True)
class GenerateStep:
    """A `generate` step with the lane its calls go through; `index` is its place in the counts.

    `decode` makes replies of the responses to its requests.
    """

    index: int
    name: str
    generator: Generator
    lane: Lane
    decode: Callable[[Response], Reply]

    shape: ClassVar[Shape] = Shape.ONE

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a validator of the user's may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)


WindowStep = FunctionStep | GenerateStep


def open_steps(
    nodes: Sequence[Node],
    names: Sequence[str],
    *,
    first: int,
    engine: Engine,
    scope: Scope,
    folder: Path,
    send: bool = True,
) -> list[WindowStep]:
    """The steps of `nodes`, in order; a local model is started by the first call to it, and runs until `scope` ends.

    Args:
        names: the steps' names.
        first: the place in the counts of the first of them.
        folder: where `.env` and relative model paths are looked for.
        send: False where requests are only built: no key and no local model is needed.

    Raises:
        ConfigError: a key is missing, a model is not there.
        ResourceError: what a local model needs is not installed.
    """
    opened: list[tuple[Model, Mapping[str, str], Lane]] = []
    steps: list[WindowStep] = []
    for index, (node, name) in enumerate(zip(nodes, names, strict=True), first):
        if not isinstance(node, Generate):
            function = compile_step(node, name)
            steps.append(FunctionStep(index, function, function.shape))
            continue
        known = next((entry for entry in opened if entry[0] == node.model), None)
        if known is None:
            headers: Mapping[str, str] = find_headers(node.model, folder) if send else {}
            lane = _open_lane(node.model, f"{node.model.model}#{len(opened)}", engine, scope, folder if send else None)
            known = (node.model, headers, lane)
            opened.append(known)
        _, headers, lane = known
        endpoint = make_endpoint(node.model, headers, node.options())
        steps.append(GenerateStep(index, name, Generator(node, endpoint), lane, endpoint.parse_reply))
    return steps


def _open_lane(model: Model, key: str, engine: Engine, scope: Scope, folder: Path | None) -> Lane:
    """The lane of `model`; without a folder to look for a local one in, of what is never sent."""
    limits, price = model.lane_limits, model.lane_price
    if not model.is_local:
        transport = find_transport(model)
        return engine.lane(key, limits=limits, endpoint=find_base_url(model), price=price, transport=transport)
    locate = None
    if folder is not None:
        server = open_server(model, folder)
        scope.defer_async(server.close, model.model)
        locate = server.get
    return engine.lane(key, limits=limits, endpoint=f"local://{model.name}", price=price, options=LaneOptions(locate))


def count_slots(nodes: Sequence[Node]) -> int:
    """Calls that may be in flight at once over all models of `nodes`; 1 when there is none."""
    models: list[Model] = []
    for node in nodes:
        if isinstance(node, Generate) and node.model not in models:
            models.append(node.model)
    return sum(model.lane_limits.slots for model in models) or 1
