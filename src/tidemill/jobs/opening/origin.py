"""What an output is made of: the versions of the outputs that its source reads, and the models with their prices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, starmap
from typing import Any

from tidemill.data.files import AnyPath
from tidemill.data.nodes.keeping import Join, find_other
from tidemill.data.nodes.node import Node
from tidemill.data.sources.joined import Joined
from tidemill.data.sources.joined_rows import JoinedDatasets
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.steps.calling import CallNode
from tidemill.protocols import Source


def describe_origin(job: JobSpec, names: Sequence[str]) -> dict[str, Any]:
    """The parents and models of what `job` lands, as its run's manifest has them, as they are now.

    Args:
        names: the parts of its source, as they were listed for the run.
    """
    read = chain(_iter_parents(job.source, names), _iter_joined(job.steps))
    parents = {(each["dataset"], each["hash"]): each for each in read}
    return {"parents": list(parents.values()), "models": list(_iter_models(job))}


def _iter_read(source: Source, steps: Sequence[Node]) -> Iterator[dict[str, Any]]:
    """The output folders that a stream reads, those that its steps join with too, each with its version."""
    yield from _iter_parents(source, source.parts())
    yield from _iter_joined(steps)


def _iter_joined(steps: Sequence[Node]) -> Iterator[dict[str, Any]]:
    for step in steps:
        if isinstance(step, Join):
            yield from _iter_read(*find_other(step))


def _iter_parents(source: Source, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The output folders that a source reads, each with its version."""
    if isinstance(source, RowFiles):
        yield from starmap(_describe, source.locate().iter_outputs())
    elif isinstance(source, (Joined, JoinedDatasets)):
        for flow in (source.joined if isinstance(source, JoinedDatasets) else source).flows:
            yield from _iter_read(flow.source, flow.nodes)
    elif isinstance(source, Read):
        yield from starmap(_describe, source.iter_outputs(names))


def _describe(folder: AnyPath, version: str) -> dict[str, Any]:
    return {"dataset": str(folder), "hash": version}


def _iter_models(job: JobSpec) -> Iterator[dict[str, Any]]:
    """The models that the steps ask, each with what its tokens cost, as far as that is known."""
    for name, node in zip(job.names[1:], job.steps, strict=False):
        for label, call in _iter_asking(node):
            model = call.find_model()
            if model is not None:
                price = call.find_price()
                rates = None if price is None else price.model_dump(exclude_none=True)
                yield {"step": f"{name}.{label}" if label else name, "model": model.model, "price": rates}


def _iter_asking(node: Node) -> Iterator[tuple[str, CallNode]]:
    """What asks a model in a step, each with its label: its calls, or itself where its model is in this process."""
    if isinstance(node, CallNode):
        calls = [(label, call) for label, _, call in node.iter_calls()]
        yield from calls or [("", node)]
