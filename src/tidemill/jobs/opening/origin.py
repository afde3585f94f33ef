"""What an output is made of: the versions of the outputs that its source reads, and the models with their prices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tidemill.data.files import AnyPath
from tidemill.data.nodes.keeping import Join, find_other
from tidemill.data.nodes.node import Node
from tidemill.data.sources.joined import Joined
from tidemill.data.sources.joined_rows import JoinedDatasets
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.data.sources.versions import load_version
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.steps.calling import CallNode
from tidemill.protocols import Source


def describe_origin(job: JobSpec) -> dict[str, Any]:
    """The parents and models of what `job` lands, as its run's manifest has them, as they are now."""
    parents = {(each["dataset"], each["hash"]): each for each in _iter_read(job.source, job.steps)}
    return {"parents": list(parents.values()), "models": list(_iter_models(job))}


def _iter_read(source: Source, steps: Sequence[Node]) -> Iterator[dict[str, Any]]:
    """The output folders that a stream reads, those that its steps join with too, each with its version."""
    yield from _iter_parents(source)
    for step in steps:
        if isinstance(step, Join):
            yield from _iter_read(*find_other(step))


def _iter_parents(source: Source) -> Iterator[dict[str, Any]]:
    """The output folders that a source reads, each with its version."""
    if isinstance(source, RowFiles):
        if source.locate().version:
            yield _describe(source.locate().path, source.locate().version)
    elif isinstance(source, (Joined, JoinedDatasets)):
        for flow in (source.joined if isinstance(source, JoinedDatasets) else source).flows:
            yield from _iter_read(flow.source, flow.nodes)
    elif isinstance(source, Read):
        for folder in source.iter_local_folders():
            manifest = load_version(folder)
            if manifest is not None:
                yield _describe(folder, manifest["hash"])


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
