"""A job file as it is written: its keys, and the document they are read from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.agents.table import CALL_NODES
from tidemill.calls.limits import Budget
from tidemill.config.layers.document import Document
from tidemill.config.layers.stacking import Sources
from tidemill.config.loading import load_document
from tidemill.config.model import Settings
from tidemill.config.subschemas import JsonSchema, take_one_key
from tidemill.config.wording.suggest import find_near, list_names
from tidemill.data.entering.resource import Resource
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.table import DATA_NODES
from tidemill.data.sources.table import FileSource
from tidemill.jobs.spec.draft import NAMED
from tidemill.jobs.spec.job import MaxErrors, RunOptions, Sink
from tidemill.models.model import Model
from tidemill.stores.table import AnyStore

NODES: tuple[type[Node], ...] = (*DATA_NODES, *CALL_NODES)
"""Every step a job file can name."""


class _Step(Settings):
    takes_one_key: ClassVar[bool] = True

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return take_one_key(handler(schema))

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "one_step",
                "expected one step, got {got}",
                {
                    "got": list_names(given) if given else "none",
                    "hint": "start each step with a dash of its own" if given else f"one of {list_names(KINDS)}",
                },
            )
        return self

    @property
    def node(self) -> Node:
        """The step it is."""
        given = (getattr(self, name) for name in type(self).model_fields)
        return cast(Node, next(value for value in given if value is not None))


KINDS = {node.kind: node for node in NODES}
"""Those steps, by the key that names them."""

_Fields: dict[str, Any] = {kind: (node | None, None) for kind, node in KINDS.items()}
Step: type[_Step] = create_model("Step", __base__=_Step, **_Fields)


class JobFile(Settings):
    """A job file as it is written.

    Attributes:
        models: models by the names that steps give for them.
        stores: vector stores by the names that steps give for them.
        resources: context managers that steps' functions are called with, by the name of the parameter.
        source: where records come from.
        steps: what is done with each, in order; each is one key, its kind.
        sink: where they land.
        budget: the most that may be spent over the life of the run.
        max_errors: the quarantined records at which the run stops: below 1 a ratio of the records, else a count.
        run: where the run folder is, and how the run ends.
    """

    # These are validated first: the steps name them.
    models: dict[str, Model] = Field(default_factory=dict)
    stores: dict[str, AnyStore] = Field(default_factory=dict)
    resources: dict[str, Resource] = Field(default_factory=dict)
    source: FileSource
    steps: list[Step]
    sink: Sink
    budget: Budget | None = None
    max_errors: MaxErrors = 0.05
    run: RunOptions = RunOptions()

    @model_validator(mode="before")
    @classmethod
    def _find_mistyped(cls, value: Any, info: ValidationInfo) -> Any:
        """What stands under a key that was to be `models` or `stores`: told there, and not at every step naming one."""
        for key, unreadable in NAMED.items():
            if isinstance(value, dict) and key not in value and info.context is not None:
                mistyped = value.get(find_near(key, map(str, value)))
                info.context[key] = dict.fromkeys(mistyped, unreadable) if isinstance(mistyped, dict) else {}
        return value

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        """A function cannot be given two things by one name."""
        both = next((name for name in self.resources if name in self.stores), None)
        if both is not None:
            message = "`{name}` is a store, which functions are given by that name"
            context = {"name": both, "path": ("resources", both), "at_key": True, "hint": "give the resource another"}
            raise PydanticCustomError("resource_name", message, context)
        return self

    @field_validator(*NAMED, mode="wrap")
    @classmethod
    def _offer(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> dict[str, Any]:
        """Let the steps name them; one that cannot be read is told once, here, and not at every step."""
        context, key = info.context if info.context is not None else {}, info.field_name or ""
        if isinstance(value, dict) and value:
            context[key] = dict.fromkeys(value, NAMED[key])
        named: dict[str, Any] = handler(value)
        if named:
            context[key] = named
        return named


def load_job_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """What a job file holds, with what it includes and `overrides` over it; not yet validated."""
    return load_document(JobFile, Sources((path,), overrides=tuple(overrides)))
