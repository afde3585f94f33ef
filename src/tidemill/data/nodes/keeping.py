"""The steps that look across records and keep on disk what is more than memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.roles import Runtime
from tidemill.config.subschemas import Also, JsonSchema
from tidemill.config.types.sizes import ByteSize
from tidemill.config.wording.words import ChoicesElsewhere
from tidemill.data.gathered.aggregates import Aggregate
from tidemill.data.nodes.fingerprints import describe_node
from tidemill.data.nodes.node import Node
from tidemill.data.records.keys import COMPARED, Key
from tidemill.data.sources.table import FILE_SOURCES, FileSource, renew_source
from tidemill.data.texts.minhash import name_signer
from tidemill.protocols import Source

_JOINS_ELSEWHERE = ChoicesElsewhere({"left_outer": "left", "left_semi": "semi", "left_anti": "anti", "exists": "semi"})

_TEXT: JsonSchema = {"type": "string"}
_TEXTS: JsonSchema = {"type": "array", "items": _TEXT}


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
        near: keys are texts, and those are one whose runs of three words have this share in common, about.
    """

    kind = "dedupe"
    alone = "key"
    key: Key | None = None
    near: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_near(self) -> Dedupe:
        if self.near is not None and (self.key is None or isinstance(self.key, tuple)):
            raise PydanticCustomError("dedupe", "near needs `key` to be the one column of a text, or a function")
        return self

    @property
    def compared(self) -> str | None:
        return COMPARED if self.near is None else None

    def describe_kept(self) -> Any:
        return None if self.near is None else name_signer()


class Sort(Spilling):
    """Give the records in the order of their keys; those of equal keys as they came.

    Attributes:
        key: a column, a list of columns, or a function of the record.
        reverse: whether the largest key comes first.
    """

    kind = "sort"
    alone = "key"
    key: Key
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Other:
    """A stream that another is joined with.

    Attributes:
        source: where its records come from.
        nodes: the steps over it.
    """

    source: Source
    nodes: tuple[Node, ...]

    def describe_result(self) -> Any:
        """Source and steps as JSON."""
        return {"source": self.source.describe(), "steps": [describe_node(node) for node in self.nodes]}


class Join(Spilling):
    """Put each record together with those of another stream that have the same key.

    Attributes:
        other: the other stream; in a job file any source, as `{path: "shops.jsonl"}` or `{dataset: out/shops}`.
        on: the columns of the key, by the name each has in the other stream; a text, or a list of texts, where both
            streams have them by one name.
        how: `inner` gives a record for each pair; `left` also the records without one, with None in the columns of
            the other; `semi` gives the records that have one, and `anti` those that have none, as they are.
        suffix: what a column of the other stream is called in the end whose name the record has, too; such a record
            fails without it.
    """

    kind = "join"
    gives_many = True
    other: FileSource
    on: Annotated[dict[str, str], Also(_TEXT, _TEXTS)] = Field(min_length=1)
    how: Annotated[Literal["inner", "left", "semi", "anti"], _JOINS_ELSEWHERE] = "inner"
    suffix: str = ""

    @field_validator("other", mode="wrap")
    @classmethod
    def _take_stream(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, Other):
            return value
        flow = getattr(value, "flow", None)
        if flow is None:
            return handler(value)
        is_file = isinstance(flow.source, FILE_SOURCES) and not flow.nodes
        return flow.source if is_file else Other(flow.source, flow.nodes)

    @field_validator("on", mode="before")
    @classmethod
    def _take_names(cls, value: Any) -> Any:
        names = (value,) if isinstance(value, str) else value
        is_list = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
        return {name: name for name in names} if is_list else value

    @property
    def compared(self) -> str | None:
        return COMPARED

    def describe_kept(self) -> Any:
        return self.memory


def find_other(node: Join) -> tuple[Source, tuple[Node, ...]]:
    """The source and the steps of the stream that a step joins with."""
    other: Any = node.other
    return (other.source, other.nodes) if isinstance(other, Other) else (other, ())


def iter_streams(source: Source, nodes: Sequence[Node]) -> Iterator[tuple[Source, Sequence[Node]]]:
    """A stream as its source and steps, those that its steps join with, and those that these join with."""
    yield source, nodes
    for node in nodes:
        if isinstance(node, Join):
            yield from iter_streams(*find_other(node))


def renew_other(node: Node) -> Node:
    """The step; one that joins with a dataset of a job file looks for it anew."""
    return node.model_copy(update={"other": renew_source(node.other)}) if isinstance(node, Join) else node


class GroupBy(Spilling):
    """One record for each group of records that have the same values in some columns, in the order of the first ones.

    Attributes:
        keys: the columns; one alone may be a text.
        agg: what is made of a group, by the name of the column it becomes.
    """

    kind = "group_by"
    keys: Annotated[tuple[str, ...], Also(_TEXT)] = Field(min_length=1)
    agg: dict[str, Aggregate] = Field(min_length=1)

    @field_validator("keys", mode="before")
    @classmethod
    def _take_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def compared(self) -> str | None:
        return COMPARED

    def describe_kept(self) -> Any:
        return [self.memory, "shares"]  # the form of the files there

    @model_validator(mode="after")
    def _check_names(self) -> GroupBy:
        if twice := next((name for name in self.agg if name in self.keys), None):
            raise PydanticCustomError("group_by", "two columns would be one: `{name}`", {"name": twice})
        return self


class Cache(KeepingNode):
    """Put what passes on disk the first time, and give it from there the next.

    Attributes:
        changed: what a cache gets that was filled from a source which has changed, or joined with one that has: it is
            refused, or made anew.
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
