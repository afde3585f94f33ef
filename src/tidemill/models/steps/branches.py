"""The `gather` step: several calls of one record at once, each with a column of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.paths import KeyPath
from tidemill.config.subschemas import JsonSchema, take_one_key
from tidemill.config.types.templates import Template
from tidemill.config.wording.suggest import list_names
from tidemill.data.nodes.node import Node
from tidemill.models.steps.call import Call
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.generate import Generate

KINDS: Mapping[str, type[CallNode]] = {node.kind: node for node in (Generate, Call)}
"""What a branch may be. An `embed` gathers records, and so stands for itself."""


class Branch(Settings):
    """One of the calls, under its kind as a step is."""

    generate: Generate | None = None
    call: Call | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return take_one_key(handler(schema))

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            message = "expected one of {kinds}, got {got}"
            context = {"kinds": list_names(KINDS, " and "), "got": list_names(given) if given else "none"}
            raise PydanticCustomError("one_branch", message, context)
        return self

    @property
    def node(self) -> CallNode:
        """The call it is."""
        found: CallNode = next(held for kind in KINDS if (held := getattr(self, kind)) is not None)
        return found


class Gather(CallNode):
    """Make all `branches` of a record at once and put what each gives into the column that is called so.

    Each has lanes, limits and ledger rows of its own. The first that fails ends the others, and fails the record.

    Attributes:
        branches: a `generate` or a `call` for each column, of the record as it came; the mapping alone is short for
            the step.
    """

    kind = "gather"
    alone = "branches"

    branches: dict[str, Branch] = Field(min_length=1, max_length=100)

    @classmethod
    def is_short(cls, value: Any) -> bool:
        return isinstance(value, dict) and cls.alone not in value

    @field_validator("branches", mode="before")
    @classmethod
    def _name_columns(cls, value: Any) -> Any:
        return {name: _name_column(name, each) for name, each in value.items()} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _check_branches(self) -> Self:
        for name, branch in self.branches.items():
            node = branch.node
            path = ("branches", name, node.kind)
            if list(node.column_types()) != [name]:
                message = "a branch's column has the branch's name, `{name}`"
                raise PydanticCustomError("branch", message, {"name": name, "path": (*path, "into")})
            for field in ("name", "on_error"):
                if getattr(node, field) is not None:
                    message = "`{field}` is the whole step's: a record fails with any of its branches"
                    raise PydanticCustomError("branch", message, {"field": field, "path": (*path, field)})
        return self

    @property
    def inner(self) -> tuple[Node, ...]:
        """The calls, in order."""
        return tuple(branch.node for branch in self.branches.values())

    def with_inner(self, nodes: Sequence[Node]) -> Self:
        """The step with other calls in their places."""
        branches = {
            name: branch.model_copy(update={node.kind: node})
            for (name, branch), node in zip(self.branches.items(), nodes, strict=True)
        }
        return self.model_copy(update={"branches": branches})

    def iter_calls(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """Its branches, each with its name and key."""
        for name, branch in self.branches.items():
            yield name, ("branches", name, branch.node.kind), branch.node

    def column_types(self) -> dict[str, Any]:
        """The columns of its branches."""
        return {column: kind for _, _, node in self.iter_calls() for column, kind in node.column_types().items()}

    def iter_templates(self) -> Iterator[tuple[KeyPath, Template]]:
        """The templates of its branches."""
        for _, path, node in self.iter_calls():
            yield from (((*path, *inner), template) for inner, template in node.iter_templates())

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        """The columns that its branches name."""
        for _, path, node in self.iter_calls():
            yield from (((*path, *inner), column) for inner, column in node.iter_columns())


def _name_column(name: str, branch: Any) -> Any:
    """The branch as its kind and fields, with the column it has by its name."""
    if isinstance(branch, CallNode):
        fields: Any = branch
        if branch.model_fields_set.isdisjoint({"into"}) and "into" in type(branch).model_fields:
            fields = branch.model_copy(update={"into": name})
        return {branch.kind: fields}
    if not isinstance(branch, Mapping):
        return branch
    return {kind: _name_fields(name, kind, fields) for kind, fields in branch.items()}


def _name_fields(name: str, kind: str, fields: Any) -> Any:
    if isinstance(fields, Mapping):
        return {"into": name, **fields}
    return {"fn": fields, "into": name} if kind == Call.kind and fields is not None else fields
