"""The steps that look across records and keep on disk what is more than memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.roles import Runtime
from tidemill.config.types.sizes import ByteSize
from tidemill.data.aggregates import Aggregate
from tidemill.data.keys import Key
from tidemill.data.nodes.node import Node


class KeepingNode(Node):
    """A step with a folder.

    Attributes:
        dir: the folder, which any number of steps may have together; a job's run folder by default.
    """

    record_wise = False
    dir: Annotated[str | None, Runtime()] = None

    @field_validator("dir", mode="before")
    @classmethod
    def _anchor_dir(cls, value: Any, info: ValidationInfo) -> Any:
        """A path in a job file starts from the file's folder."""
        folder = (info.context or {}).get("folder")
        value = str(value) if isinstance(value, Path) else value
        return str(Path(folder, value)) if folder is not None and isinstance(value, str) else value

    def describe_kept(self) -> Any:
        """What besides the step's description decides what stands in its folder: JSON."""
        return None


class Spilling(KeepingNode):
    """A step that writes to its folder what is more than so much memory.

    Attributes:
        memory: what is held in memory at most, about; a number of bytes, or a text as `256MiB`.
    """

    memory: Annotated[ByteSize, Runtime()] = 256 << 20

    def describe_kept(self) -> Any:
        return self.memory


class Dedupe(KeepingNode):
    """Keep the first record of each key.

    Attributes:
        key: a column, a list of columns, or a function of the record; the whole record by default.
    """

    kind = "dedupe"
    key: Key | None = None

    @classmethod
    def find_alone(cls) -> str:
        return "key"

    @model_validator(mode="before")
    @classmethod
    def _from_key(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"key": value}


class Sort(Spilling):
    """Give the records in the order of their keys; those of equal keys as they came.

    Attributes:
        key: a column, a list of columns, or a function of the record.
        reverse: whether the largest key comes first.
    """

    kind = "sort"
    key: Key
    reverse: bool = False

    @classmethod
    def find_alone(cls) -> str:
        return "key"

    @model_validator(mode="before")
    @classmethod
    def _from_key(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"key": value}


class GroupBy(Spilling):
    """One record for each group of records that have the same values in some columns, in the order of the first ones.

    Attributes:
        keys: the columns; one alone may be a text.
        agg: what is made of a group, by the name of the column it becomes.
    """

    kind = "group_by"
    keys: tuple[str, ...] = Field(min_length=1)
    agg: dict[str, Aggregate] = Field(min_length=1)

    @field_validator("keys", mode="before")
    @classmethod
    def _take_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_names(self) -> GroupBy:
        if twice := next((name for name in self.agg if name in self.keys), None):
            raise PydanticCustomError("group_by", "two columns would be one: `{name}`", {"name": twice})
        return self


class Cache(KeepingNode):
    """Put what passes on disk the first time, and give it from there the next.

    Attributes:
        changed: what a cache gets that was filled from a source which has changed: it is refused, or made anew.
        part_bytes: bytes of a file of it, about; so much is held in memory while it is filled.
    """

    kind = "cache"
    changed: Annotated[Literal["refuse", "rebuild"], Runtime()] = "refuse"
    part_bytes: Annotated[ByteSize, Runtime()] = 16 << 20

    def describe_kept(self) -> Any:
        return self.part_bytes


def place_folders(nodes: Sequence[Node], folder: Path) -> tuple[Node, ...]:
    """The steps, those that keep things and name no folder with `folder` for it."""
    placed: dict[str, Any] = {"dir": str(folder)}
    return tuple(
        node.model_copy(update=placed) if isinstance(node, KeepingNode) and node.dir is None else node for node in nodes
    )
