"""A job as far as it could be read: what checks look at, so that one fault does not hide the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from tidemill.agents.table import CALL_NODES
from tidemill.calls.limits import Budget
from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath
from tidemill.config.report.rendering import problem_at
from tidemill.data.nodes.node import Node, number_names
from tidemill.errors import Problem
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.spec.job import RunOptions, Sink, find_folders
from tidemill.models.model import Model
from tidemill.models.steps.calling import CallNode
from tidemill.protocols import Source
from tidemill.stores.store import Store

_CALL_KINDS = frozenset(node.kind for node in CALL_NODES)

UNREADABLE = Model(model="unreadable/model", base_url="http://unreadable.invalid")
"""Stands for a model of a job file that cannot be read, which is told where it stands."""

NAMED: Mapping[str, Model | Store] = {"models": UNREADABLE, "stores": Store(dimensions=1)}
"""What steps name, by its key in a job file, each with what stands for one that cannot be read."""


@dataclass(frozen=True, slots=True)
class DraftStep:
    """A step as far as it could be read.

    Attributes:
        kind: its kind as written.
        node: None when nothing of it can be read.
        is_whole: False when fields that were wrong are left out of `node`.
    """

    kind: str
    node: Node | None
    is_whole: bool = True

    @property
    def calls(self) -> bool:
        """Whether the record half begins here at the latest."""
        return self.kind in _CALL_KINDS


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as far as it could be read; what could not is None, and its problems are told elsewhere.

    Attributes:
        resources: the names of those it has, for all steps.
    """

    source: Source | None
    steps: tuple[DraftStep, ...]
    sink: Sink | None
    resources: tuple[str, ...]
    budget: Budget | None
    run: RunOptions
    folder: Path
    document: Document | None

    @property
    def halves_at(self) -> int:
        """The place of the first step of the record half."""
        return next((index for index, step in enumerate(self.steps) if step.calls), len(self.steps))

    @property
    def step_names(self) -> tuple[str, ...]:
        """The steps' names; of those that cannot be read, their kind."""
        return number_names([(step.kind, step.node.name if step.node is not None else None) for step in self.steps])

    @property
    def folders(self) -> RunFolder | None:
        """Where the output and the run stand, if the sink can be read."""
        return None if self.sink is None else find_folders(self.folder, self.sink, self.run)

    def find_calls(self) -> list[tuple[int, KeyPath, CallNode]]:
        """The calls of the steps, each with the step's place and the key in it."""
        steps = [(index, step.node) for index, step in enumerate(self.steps)]
        called = [(index, node) for index, node in steps if isinstance(node, CallNode)]
        return [(index, path, call) for index, node in called for _, path, call in node.iter_calls()]

    def find_beside(self) -> list[tuple[int, KeyPath, CallNode]]:
        """What is asked on the way of the steps' calls, each with the step's place and the key in it."""
        called = [(index, step.node) for index, step in enumerate(self.steps) if isinstance(step.node, CallNode)]
        return [(index, path, call) for index, node in called for _, path, call in node.iter_beside()]

    def find_outputs(self) -> list[tuple[int, KeyPath, CallNode]]:
        """What writes columns of its own, each with the step's place and the key in it: calls, and models run here."""
        asked = [(index, step.node) for index, step in enumerate(self.steps) if isinstance(step.node, CallNode)]
        own: list[tuple[int, KeyPath, CallNode]]
        own = [(index, (), node) for index, node in asked if not any(node.iter_calls())]
        return sorted([*self.find_calls(), *own], key=itemgetter(0))

    def problem(self, path: KeyPath, message: str, hint: str = "", **place: Any) -> Problem:
        """A problem at `path`: with its place in the job file, else with the step's name."""
        if self.document is not None:
            return problem_at(self.document, path, message, hint=hint, **place)
        if path[0] == "steps" and isinstance(path[1], int):
            message = f"step `{self.step_names[path[1]]}`: {message}"
        return Problem(message, place.get("place"), path, hint)

    def path(self, index: int, *fields: str | int) -> KeyPath:
        """The key path of a field of a step."""
        return ("steps", index, self.steps[index].kind, *fields)
