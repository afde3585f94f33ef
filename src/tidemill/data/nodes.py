"""The frozen descriptions of steps: what a chain, a `Pipeline` and a job file all hold.

A node says what a step does and knows nothing of how it runs; `data/iteration.py` interprets the source half's
nodes, `jobs/` the record half's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.functions import Function
from tidemill.config.model import Config
from tidemill.config.numbers import check_int64

OnError = Literal["raise", "quarantine", "skip"]


class Node(Config):
    """A step's frozen description.

    Attributes:
        name: the step's name; by default its kind, numbered from the second of that kind.
        on_error: what a failing record gets; None takes the run's default (`quarantine`; iteration raises).
    """

    kind: ClassVar[str]
    record_wise: ClassVar[bool] = True
    """True when the step turns one record into 0..n and looks at no other."""
    calls: ClassVar[bool] = False
    """True when the step starts a job's record half: it makes outside calls or runs a model."""
    keeps: ClassVar[bool] = False
    """True when the step's function says whether the record is kept."""
    gives_many: ClassVar[bool] = False
    """True when the step's function gives any number of records for one."""

    name: str | None = None
    on_error: OnError | None = None


class FunctionNode(Node):
    """A step that is one function; `fn` alone is short for `{fn: …}`.

    In a job the function is given a copy of a dict, one level deep, so that a record which fails stands in quarantine
    as it came. Lists and dicts inside it are the record's own: a function must not change those in place.
    """

    fn: Function

    @model_validator(mode="before")
    @classmethod
    def _from_function(cls, value: Any) -> Any:
        return {"fn": value} if isinstance(value, str) or callable(value) else value


class Map(FunctionNode):
    """Replace the record by `fn(record)`."""

    kind = "map"


class Filter(FunctionNode):
    """Keep the records for which `fn(record)` is true."""

    kind = "filter"
    keeps = True


class FlatMap(FunctionNode):
    """Replace the record by each of `fn(record)`, any iterable; an empty one drops it."""

    kind = "flat_map"
    gives_many = True


class MappingNode(Node):
    """A step whose `columns` are a mapping by name; the mapping alone is short for it."""

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, value: Any) -> Any:
        return {"columns": value} if isinstance(value, dict) and "columns" not in value else value


class WithColumns(MappingNode):
    """Add columns: each the value of its function of the record as it came in."""

    kind = "with_columns"
    columns: dict[str, Function]


class ColumnsNode(Node):
    """A step over named columns; the list of their names is short for it."""

    columns: tuple[str, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, value: Any) -> Any:
        return {"columns": value} if isinstance(value, (list, tuple)) else value


class Select(ColumnsNode):
    """Keep these columns, in this order; a record that lacks one fails."""

    kind = "select"


class Rename(MappingNode):
    """Give columns other names, old to new; a record that lacks one fails."""

    kind = "rename"
    columns: dict[str, str]


class Drop(ColumnsNode):
    """Leave these columns out; a record that lacks one fails."""

    kind = "drop"


class Observe(FunctionNode):
    """Call `fn(record)` for what it does; the record stays as it is."""

    kind = "observe"


class Split(Node):
    """Keep the records of one of several shares; which is a record's follows from its value in a column alone.

    Attributes:
        ratios: how much each share gets; they need not sum to 1.
        share: the number of the share that is kept.
        by: the column that decides; None takes the whole record.
    """

    kind = "split"
    keeps = True
    ratios: tuple[float, ...] = Field(min_length=1)
    share: int = Field(ge=0)
    by: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _check_shares(self) -> Split:
        if self.share >= len(self.ratios):
            raise PydanticCustomError(
                "share", "expected a share below {count}, got {share}", {"count": len(self.ratios), "share": self.share}
            )
        if min(self.ratios) < 0 or not sum(self.ratios):
            raise PydanticCustomError("ratios", "expected ratios of at least 0, and one above")
        return self


class Unbatch(Node):
    """Take batches apart: lists, dicts of columns, Arrow tables or NumPy columns give their records again."""

    kind = "unbatch"
    gives_many = True


class Take(Node):
    """Keep the first `count` records."""

    kind = "take"
    record_wise = False
    count: int = Field(ge=0)

    _check_int64 = field_validator("count")(check_int64)

    @model_validator(mode="before")
    @classmethod
    def _from_count(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"count": value}


class CountNode(Node):
    """A step that is one number; the number alone is short for it."""

    record_wise = False

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        field = next(name for name in cls.model_fields if name not in Node.model_fields)
        return value if isinstance(value, dict) else {field: value}


class Skip(CountNode):
    """Pass over the first `count` records."""

    kind = "skip"
    count: int = Field(ge=0)


class Every(CountNode):
    """Keep one record of every `count`, beginning with the one numbered `offset`."""

    kind = "every"
    count: int = Field(ge=1)
    offset: int = Field(default=0, ge=0)


class Sample(CountNode):
    """Keep about `ratio` of the records, each chosen by its number and `seed`."""

    kind = "sample"
    ratio: float = Field(ge=0, le=1)
    seed: int = 0


class Shard(Node):
    """Keep the records of one rank of `world`: every `world`-th, beginning with the one numbered `rank`.

    Attributes:
        even: `drop` leaves out the last records that do not go round all ranks, `pad` gives some of them again; None
            lets ranks differ by one.
    """

    kind = "shard"
    record_wise = False
    rank: int = Field(ge=0)
    world: int = Field(ge=1)
    even: Literal["drop", "pad"] | None = None

    @model_validator(mode="after")
    def _check_rank(self) -> Shard:
        if self.rank >= self.world:
            raise PydanticCustomError(
                "rank", "expected a rank below world, {world}, got {rank}", {"world": self.world, "rank": self.rank}
            )
        return self


class Batch(CountNode):
    """Gather records into batches of `size`, or as many as `size_bytes` or `tokens` hold.

    Attributes:
        form: what a batch is: the list of `records`, a dict of `columns` (lists), an `arrow` table, or a dict of
            `numpy` arrays.
        drop_last: leave out a last batch that is not full.
        size_bytes: bytes of the records as JSON.
        tokens: lengths of the column `length_of`, each counted as the longest of its batch.
    """

    kind = "batch"
    size: int | None = Field(default=None, ge=1)
    form: Literal["records", "columns", "arrow", "numpy"] = "records"
    drop_last: bool = False
    size_bytes: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    length_of: str = "input_ids"

    @model_validator(mode="after")
    def _check_bound(self) -> Batch:
        given = [name for name in ("size", "size_bytes", "tokens") if getattr(self, name) is not None]
        if len(given) != 1:
            text = f"got {' and '.join(given)}" if given else "got none"
            raise PydanticCustomError("batch", "expected one of size, size_bytes and tokens, {text}", {"text": text})
        if self.drop_last and self.size is None:
            raise PydanticCustomError("batch", "drop_last needs `size`: no other batch is ever full")
        return self


class Sliding(CountNode):
    """Give lists of `size` records in a row, each beginning `step` records after the last."""

    kind = "sliding"
    size: int = Field(ge=1)
    step: int = Field(default=1, ge=1)


class Shuffle(Node):
    """Give the records block by block, the `buffer` records of each in an order that follows from `seed`."""

    kind = "shuffle"
    record_wise = False
    seed: int = 0
    buffer: int = Field(default=10_000, ge=1)


class Repeat(CountNode):
    """Go through all in front of it `epochs` times, None for ever; what shuffles there does so anew each time."""

    kind = "repeat"
    epochs: int | None = Field(default=None, ge=0)


DATA_NODES: tuple[type[Node], ...] = (
    Map, Filter, FlatMap, WithColumns, Select, Rename, Drop, Observe, Split, Unbatch,
    Take, Skip, Every, Sample, Shard, Batch, Sliding, Shuffle, Repeat,
)  # fmt: skip
"""Every step that makes no calls: those that look at one record, then those that look across."""


def step_names(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    """The name of each step: `name`, else its kind, numbered from the second (`generate`, `generate_2`)."""
    return number_names([(node.kind, node.name) for node in nodes])


def number_names(steps: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    """The names of steps given as kind and own name."""
    seen: dict[str, int] = {}
    names = []
    for kind, name in steps:
        number = seen[kind] = seen.get(kind, 0) + 1
        names.append(name or (kind if number == 1 else f"{kind}_{number}"))
    return tuple(names)


def split_halves(nodes: tuple[Node, ...]) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The source half and the record half: the record half starts at the first step that calls."""
    start = next((i for i, node in enumerate(nodes) if node.calls), len(nodes))
    return nodes[:start], nodes[start:]
