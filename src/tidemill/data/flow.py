"""A source with steps over it, as one thing: what streams are joined of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.data.iteration import Records, iterate
from tidemill.data.nodes.fingerprints import describe_node
from tidemill.data.nodes.hooks import StepHooks, bind_hooks
from tidemill.data.nodes.node import Node, step_names
from tidemill.protocols import Source, State


@dataclass(frozen=True, slots=True)
class Flow:
    """A source and the steps over it. Frozen; equal by description.

    Attributes:
        source: where records come from.
        nodes: the steps, all of a source half.
        hooks: around each step, bound each time it is gone through; no part of the description.
    """

    source: Source
    nodes: tuple[Node, ...] = ()
    hooks: tuple[StepHooks, ...] = field(default=(), compare=False, repr=False)

    def iterate(self, state: State | None = None, *, epoch: tuple[int, ...] = ()) -> Records:
        """The records, from the start or from `state`; `epoch` says which of several times it is gone through."""
        return iterate(self.source, bind_hooks(self.nodes, self.hooks), state, epoch=epoch)

    def describe(self) -> dict[str, Any]:
        """Source and steps as JSON."""
        return {"source": self.source.describe(), "steps": [describe_node(node) for node in self.nodes]}

    def show(self) -> str:
        """The flow in a line."""
        return " | ".join([show_source(self.source), *step_names(self.nodes)])


def show_source(source: Source) -> str:
    """A source in a line, as its user would write it."""
    show = getattr(source, "show", None)
    return str(show()) if show else type(source).__name__


def describe_flows(flows: Sequence[Flow]) -> list[dict[str, Any]]:
    """Several flows as JSON."""
    return [flow.describe() for flow in flows]
