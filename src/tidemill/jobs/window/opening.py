"""Opening the steps of a record half: functions compiled, models and functions opened, each with its lane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tidemill.agents.opening import AgentOpener
from tidemill.agents.runner import AgentRunner
from tidemill.agents.step import RunAgent
from tidemill.calls.engine import Engine
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Limits, Price
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request, Response, Transport
from tidemill.data.nodes.node import Node
from tidemill.errors import TidemillError
from tidemill.jobs.records.step import compile_step
from tidemill.jobs.window.steps import (
    AgentStep,
    CallStep,
    FunctionStep,
    GatherStep,
    IndexStep,
    PredictStep,
    WindowStep,
)
from tidemill.models.endpoints import make_embedding_endpoint, make_endpoint
from tidemill.models.formats.endpoint import Endpoint
from tidemill.models.formats.streaming import StreamedCall
from tidemill.models.lanes import OpenModels
from tidemill.models.messages import Reply
from tidemill.models.model import Model
from tidemill.models.steps.batching import Batching
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call, Caller, Value
from tidemill.models.steps.calling import CallNode, Runner
from tidemill.models.steps.embed import Embed, Embedder, Embedding
from tidemill.models.steps.generate import MAX_REASKS, MAX_SAMPLES, Generate
from tidemill.models.steps.generator import Generator
from tidemill.models.steps.lines import Line, Way
from tidemill.models.steps.predict import ON_THE_WAY, Predict
from tidemill.models.torch.running.predicting import Predictor
from tidemill.models.torch.texts.embedding import EmbeddingPredictor
from tidemill.resources.scope import Scope
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.indexer import Indexer
from tidemill.stores.steps.marks import Marks
from tidemill.stores.steps.opened import OpenStores
from tidemill.stores.steps.search import Search
from tidemill.stores.steps.searcher import Searcher
from tidemill.stores.steps.upserts import Upserts

MOST_WORKERS = 4_096
"""Records in progress at once over all batches; each is a task of the loop."""

CALLS_OF_BRANCH = MAX_SAMPLES * (MAX_REASKS + 1)
"""The calls of a branch are numbered from its place times this on."""

FREE = Price(0, 0)
"""What a function's calls cost in tokens: a budget in USD holds for what it bounds."""


def open_steps(
    nodes: Sequence[Node],
    names: Sequence[str],
    *,
    first: int,
    engine: Engine,
    scope: Scope,
    folder: Path,
    send: bool = True,
    marks: Marks | None = None,
    stores: OpenStores | None = None,
) -> list[WindowStep]:
    """The steps of `nodes`, in order; a local model is started by the first record for it, and runs until `scope` ends.

    Args:
        names: the steps' names.
        first: the place in the counts of the first of them.
        folder: where `.env`, images and local models with relative paths are looked for.
        send: False where requests are only built: no key and no local model is needed.
        marks: those of the run, where it is one.
        stores: those that functions are given as well, where any may be.

    Raises:
        ConfigError: a key is missing, a model is not there.
        ResourceError: what a local model needs is not installed.
    """
    opener = _Opener(engine, scope, folder, send=send, marks=marks, stores=stores or OpenStores(scope, folder))
    steps: list[WindowStep] = []
    for index, (node, name) in enumerate(zip(nodes, names, strict=True), first):
        try:
            steps.append(opener.open_step(index, node, name))
        except TidemillError as error:
            error.step = error.step or name
            raise
    return steps


class _Opener:
    """Opens steps that call; each model once.

    Args:
        folder, send, marks, stores: as `open_steps` has them.
    """

    def __init__(
        self, engine: Engine, scope: Scope, folder: Path, *, send: bool, marks: Marks | None, stores: OpenStores
    ) -> None:
        self._engine = engine
        self._scope = scope
        self._folder = folder
        self._models = OpenModels(engine, scope, folder, send=send)
        self._stores = stores
        self._marks = marks

    def open_step(self, index: int, node: Node, name: str) -> WindowStep:
        """The step of `node`, whose place in the counts is `index`."""
        if isinstance(node, Gather):
            return GatherStep(index, name, node.bound_hooks, self.open_branches(node, name))
        if isinstance(node, RunAgent):
            return AgentStep(index, name, self._open_agent(node, name))
        if isinstance(node, Predict):
            return self._open_computing(index, name, Predictor(node, name))
        if isinstance(node, Embed) and node.runs_here:
            return self._open_computing(index, name, EmbeddingPredictor(node, name, self._folder))
        if isinstance(node, Index):
            return self._open_index(index, node, name)
        if isinstance(node, CallNode):
            return CallStep(index, name, *self.open(node, name))
        function = compile_step(node, name)
        return FunctionStep(index, function, function.shape)

    def open(self, node: CallNode, name: str) -> tuple[Runner, Line]:
        """What runs the step, and how its calls go out."""
        if isinstance(node, Generate):
            return self._open_generate(node, name)
        if isinstance(node, Embed):
            return self._open_embed(node, name)
        if isinstance(node, Search):
            return self._open_search(node, name)
        assert isinstance(node, Call)
        return self._open_call(node, name)

    def open_branches(self, node: Gather, name: str) -> tuple[tuple[Runner, Line], ...]:
        """What makes each call of the step, and how it goes out: under numbers of its own."""
        opened = []
        for place, (label, _, call) in enumerate(node.iter_calls()):
            runner, line = self.open(call, f"{name}.{label}")
            opened.append((runner, replace(line, label=label, first=place * CALLS_OF_BRANCH)))
        return tuple(opened)

    def _open_computing(self, index: int, name: str, predictor: Predictor | EmbeddingPredictor) -> PredictStep:
        self._scope.defer_async(predictor.close, name=name)
        return PredictStep(index, name, predictor)

    def _open_generate(self, node: Generate, name: str) -> tuple[Runner, Line]:
        model = self._models.find(node.model)
        endpoint = make_endpoint(node.model, model.headers, node.options())
        way: Way = model.repeatable if node.is_repeatable else model.lane
        if node.stream:
            way = _Streamed(way, endpoint, model.lane.send)
        generator = Generator(node, endpoint, folder=self._folder, name=name)
        self._scope.defer(generator.close, name=name)
        return generator, Line(way, model.lane, endpoint.parse_reply, Reply.from_row)

    def _open_agent(self, node: RunAgent, name: str) -> AgentRunner:
        opener = AgentOpener(self._engine, self._models, self._scope, stores=self._stores, label=(name,))
        opened = opener.open(node.agent)
        return AgentRunner(node, opened, folder=self._folder)

    def _open_embed(self, node: Embed, name: str) -> tuple[Runner, Line]:
        model = self._models.find(node.model)
        endpoint = make_embedding_endpoint(node.model, model.headers, dimensions=node.dimensions, params=node.params)
        embedder = Embedder(node, endpoint)
        batching = Batching(model.lane, embedder, most=node.batch_size, most_size=node.batch_tokens)
        self._scope.defer_async(batching.close, name=name)
        return embedder, Line(batching, model.lane, embedder.decode, Embedding.from_row, batching=batching)

    def _open_call(self, node: Call, name: str) -> tuple[Runner, Line]:
        address = f"call://{quote(name, safe='')}"
        lane = self._engine.lane(f"call {name}", limits=node.lane_limits, endpoint=address, price=FREE)
        caller = Caller(node, name, lambda: lane.limits.slots)
        self._scope.defer(caller.close, name=name)
        return caller, Line(lane, lane, Value.from_response, Value.from_row, is_keyed=True)

    def _open_search(self, node: Search, name: str) -> tuple[Runner, Line]:
        lane = self._open_store_lane("search", name, node.lane_limits)
        searcher = Searcher(node, self._stores.find(node.store), name)
        return searcher, Line(lane, lane, Value.from_response, Value.from_row)

    def _open_index(self, index: int, node: Index, name: str) -> IndexStep:
        store = self._stores.find(node.store)
        store.is_filled = True
        upserts = Upserts(store, self._marks)
        lane = self._open_store_lane("index", name, node.limits, upserts)
        indexer = Indexer(node, name, self._marks)
        batching = Batching(lane, indexer, most=node.batch_size, most_size=node.batch_size)
        self._scope.defer_async(batching.close, name=name)
        return IndexStep(index, name, indexer, batching, upserts, lane)

    def _open_store_lane(self, kind: str, name: str, limits: Limits, transport: Transport | None = None) -> Lane:
        address = f"{kind}://{quote(name, safe='')}"
        return self._engine.lane(f"{kind} {name}", limits=limits, endpoint=address, price=FREE, transport=transport)


class _Streamed:
    """A way out for requests whose replies come piece by piece."""

    def __init__(self, way: Way, endpoint: Endpoint, send: Send) -> None:
        self._way = way
        self._endpoint = endpoint
        self._send = send

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], Any],
        commit: Callable[[Any, int], Awaitable[object]] | None = None,
        *,
        send: Send | None = None,
    ) -> Any:
        """As `Lane.call`; `decode` is the stream's own."""
        streamed = StreamedCall(self._endpoint, send or self._send)
        return await self._way.call(request, streamed.decode, commit, send=streamed.send)


def count_slots(nodes: Sequence[Node]) -> int:
    """Calls that may be in flight at once over all models and functions of `nodes`; 1 when there is none."""
    models: list[Model] = []
    slots = 0
    called = [node for node in nodes if isinstance(node, CallNode)]
    for node in (call for each in called for _, _, call in each.iter_calls()):
        if isinstance(node, (Call, Search)):
            slots += node.lane_limits.slots
        elif (model := node.find_model()) is not None and model not in models:
            models.append(model)
            slots += model.lane_limits.slots
    return slots or 1


def count_workers(nodes: Sequence[Node]) -> int:
    """Records that may be in progress at once: as many as fill all slots, where batches are taken whole."""
    batched = [node for node in nodes if isinstance(node, Embed) and not node.runs_here]
    here = [(node.width, node.batch) for node in nodes if isinstance(node, Predict)]
    here += [
        (ON_THE_WAY * node.batch_size, node.batch_size) for node in nodes if isinstance(node, Embed) and node.runs_here
    ]
    here += [(node.batch_size * node.limits.slots, node.batch_size) for node in nodes if isinstance(node, Index)]
    shares = sum((node.batch_size - 1) * node.model.lane_limits.slots for node in batched)
    shares += sum(width for width, _ in here)
    slots = count_slots(nodes)
    agents = sum(node.concurrency for node in nodes if isinstance(node, RunAgent))
    least = max([slots, agents, *(2 * batch for _, batch in here)])
    return max(least, min(slots + shares, MOST_WORKERS))
