"""Whether the vectors that steps make fit the stores that later steps use them with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tidemill.agents.builtin.vector_search import VectorSearch
from tidemill.agents.step import RunAgent
from tidemill.config.paths import KeyPath
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Chunk, Rename, Tokenize, WithColumns
from tidemill.errors import Problem
from tidemill.jobs.spec.draft import NAMED, Draft
from tidemill.jobs.spec.flow import KEEPING
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.embed import Embed
from tidemill.models.torch.texts.location import find_vector_size
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.search import Search

Sizes = dict[str, tuple[int, str]]
"""Columns of vectors whose length is known: that, and the name of the step that makes them."""


def check_dimensions(draft: Draft) -> Iterator[Problem]:
    """Stores of other dimensions than the vectors that go to them, as far as columns can be followed."""
    sizes: Sizes = {}
    seen: list[tuple[KeyPath, int]] = []
    for index, (step, name) in enumerate(zip(draft.steps, draft.step_names, strict=True)):
        node = step.node
        if node is None or not step.is_whole:
            sizes = sizes if step.kind in KEEPING else {}
            continue
        if isinstance(node, (Index, Search)) and node.vector in sizes and node.store != NAMED["stores"]:
            size, maker = sizes[node.vector]
            path = _find_store(draft, index)
            if size != node.store.dimensions and (path, size) not in seen:
                seen.append((path, size))
                message = (
                    f"step `{maker}` makes vectors of {size} numbers, and the store's have {node.store.dimensions}"
                )
                yield draft.problem((*path, "dimensions"), message, f"dimensions: {size}")
        if isinstance(node, RunAgent):
            for misfit in dict.fromkeys(_iter_misfits(node)):
                yield draft.problem(draft.path(index, "agent", "tools"), *misfit)
        sizes = _follow(sizes, node, name, draft.folder)


def _iter_misfits(node: RunAgent) -> Iterator[tuple[str, str]]:
    """Of each search that agents have as a tool, why it cannot find anything, as message and hint."""
    for agent in node.agent.iter_agents():
        for source in agent.list_sources():
            if isinstance(source, VectorSearch) and (misfit := source.find_misfit()) is not None:
                yield misfit


def _find_store(draft: Draft, index: int) -> KeyPath:
    """Where the settings of a step's store stand: under their name, or in the step."""
    path = draft.path(index, "store")
    named = None if draft.document is None else draft.document.find_value(path)
    return ("stores", named) if isinstance(named, str) else path


def _follow(sizes: Sizes, node: Node, name: str, folder: Path) -> Sizes:
    """What is known behind a step."""
    if isinstance(node, Rename):
        return {node.columns.get(column, column): made for column, made in sizes.items()}
    if isinstance(node, CallNode):
        made = [call for _, _, call in node.iter_calls()] or [node]
        known = {each.into: _find_size(each, folder) for each in made if isinstance(each, Embed)}
        kept = {column: made for column, made in sizes.items() if column not in node.column_types()}
        return kept | {column: (size, name) for column, size in known.items() if size is not None}
    if isinstance(node, WithColumns):
        return {column: made for column, made in sizes.items() if column not in node.columns}
    if isinstance(node, (Tokenize, Chunk, DecodeImage)):
        return {column: made for column, made in sizes.items() if column not in node.added}
    return sizes if node.kind in KEEPING or node.kind in ("select", "drop") else {}


def _find_size(node: Embed, folder: Path) -> int | None:
    """How long the vectors of a step are, None where nobody can tell before they are there."""
    return find_vector_size(node.model, folder) if node.dimensions is None else node.dimensions
