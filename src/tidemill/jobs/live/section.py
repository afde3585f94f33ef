"""A section of a pipeline: record-wise steps from a call on, and what stands in front of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tidemill.data.nodes.hooks import StepHooks, bind_hooks
from tidemill.data.nodes.node import Node
from tidemill.protocols import Source


@dataclass(frozen=True, slots=True)
class Section:
    """Record-wise steps with calls over a source.

    Attributes:
        source: where records come from.
        before: the steps in front of the first call, as plain iterators.
        steps: the first call, and the record-wise steps from there on.
        demand: the most records wanted out of it, None for all; bounds the calls.
        folder: where `.env` and relative model paths are looked for.
        hooks: around the steps in front, and around these; no part of the description.
    """

    source: Source
    before: Sequence[Node]
    steps: Sequence[Node]
    demand: int | None
    folder: Path
    hooks: tuple[Sequence[StepHooks], Sequence[StepHooks]] = field(default=((), ()), compare=False)

    def bind(self) -> Section:
        """The section with the hooks there are now."""
        before, steps = self.hooks
        return replace(
            self, before=bind_hooks(self.before, before), steps=bind_hooks(self.steps, steps), hooks=((), ())
        )
