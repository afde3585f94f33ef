"""What an output is made of: the versions of outputs that were read, the models with their prices, and the stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, starmap
from typing import Any

from tidemill.agents.builtin.vector_search import VectorSearch
from tidemill.agents.step import RunAgent
from tidemill.calls.limits import Price
from tidemill.config.types.functions import show_object
from tidemill.data.files import AnyPath
from tidemill.data.joined.joined import Joined
from tidemill.data.joined.rows import JoinedDatasets
from tidemill.data.nodes.keeping import Join, find_other
from tidemill.data.nodes.node import Node
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.model import Model
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.predict import Predict
from tidemill.protocols import Source
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.search import Search
from tidemill.stores.store import Store
from tidemill.stores.table import name_store


def describe_origin(job: JobSpec, names: Sequence[str] | None) -> dict[str, Any]:
    """The parents, models and stores of what `job` lands, as its run's manifest has them, as they are now.

    Args:
        names: the parts of its source, as they were listed for the run; None leaves the parents out, of a run that
            reads nothing.
    """
    used = {"models": list(_iter_models(job)), "stores": list(_iter_stores(job))}
    if names is None:
        return used
    read = chain(_iter_parents(job.source, names), _iter_joined(job.steps))
    parents = {(each["dataset"], each["hash"]): each for each in read}
    return {"parents": list(parents.values()), **used}


def _iter_read(source: Source, steps: Sequence[Node]) -> Iterator[dict[str, Any]]:
    """The output folders that a stream reads, those that its steps join with too, each with its version."""
    yield from _iter_parents(source)
    yield from _iter_joined(steps)


def _iter_joined(steps: Sequence[Node]) -> Iterator[dict[str, Any]]:
    for step in steps:
        if isinstance(step, Join):
            yield from _iter_read(*find_other(step))


def _iter_parents(source: Source, names: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
    """The output folders that a source reads, each with its version; of files those of `names`, by default all."""
    if isinstance(source, RowFiles):
        yield from starmap(_describe, source.locate().iter_outputs())
    elif isinstance(source, (Joined, JoinedDatasets)):
        for flow in (source.joined if isinstance(source, JoinedDatasets) else source).flows:
            yield from _iter_read(flow.source, flow.nodes)
    elif isinstance(source, Read):
        yield from starmap(_describe, source.iter_outputs(source.parts() if names is None else names))


def _describe(folder: AnyPath, version: str) -> dict[str, Any]:
    return {"dataset": str(folder), "hash": version}


def _iter_models(job: JobSpec) -> Iterator[dict[str, Any]]:
    """The models that the steps ask or hold, each with what its tokens cost, as far as that is known."""
    for name, node in _iter_steps(job):
        for label, call in _iter_asking(node):
            model = call.find_model()
            if model is not None:
                yield _describe_model(_join(name, label), model, call.find_price())
        if isinstance(node, Predict):
            held = show_object(node.load if node.model is None else node.model)
            yield {"step": name, "model": held, "price": None, "is_local": True}
        for label, tool in _iter_searches(node):
            yield _describe_model(_join(name, label), tool.model, tool.model.price_with({}))


def _describe_model(step: str, model: Model, price: Price | None) -> dict[str, Any]:
    rates = None if price is None else price.model_dump(exclude_none=True)
    return {"step": step, "model": model.model, "price": rates, "is_local": model.is_local}


def _iter_stores(job: JobSpec) -> Iterator[dict[str, Any]]:
    """The vector stores that the steps read or write."""
    for name, node in _iter_steps(job):
        if isinstance(node, (Index, Search)):
            access = "write" if isinstance(node, Index) else "read"
            yield _describe_store(name, node.store.within(job.folder), access)
        for label, tool in _iter_searches(node):
            yield _describe_store(_join(name, label), tool.store.within(tool.folder), "read")


def _describe_store(step: str, store: Store, access: str) -> dict[str, Any]:
    place, table = store.find_place()
    described = {"store": name_store(store), "place": place, "name": table, "dimensions": store.dimensions}
    return {"step": step, "access": access, **described}


def _iter_steps(job: JobSpec) -> Iterator[tuple[str, Node]]:
    return zip(job.names[1:], job.steps, strict=False)


def _join(step: str, label: str) -> str:
    return f"{step}.{label}" if label else step


def _iter_asking(node: Node) -> Iterator[tuple[str, CallNode]]:
    """What asks a model in a step, each with its label: its calls, or itself where its model is in this process."""
    if isinstance(node, CallNode):
        calls = [(label, call) for label, _, call in node.iter_calls()]
        yield from calls or [("", node)]


def _iter_searches(node: Node) -> Iterator[tuple[str, VectorSearch]]:
    """The searches of stores that a step's agents have as tools, each with its label, each once."""
    if isinstance(node, RunAgent):
        found = {
            f"{agent.name}.{tool.name}" if place else tool.name: tool
            for place, agent in enumerate(node.agent.iter_agents())
            for tool in agent.list_sources()
            if isinstance(tool, VectorSearch)
        }
        yield from found.items()
