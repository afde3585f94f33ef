"""The steps that look across records: they pick by number, gather, or order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.data.gathered.packing import POSITIONS, SEGMENT_IDS
from tidemill.data.nodes.node import Node


class Take(Node):
    """Keep the first `count` records.

    Attributes:
        count: how many records are kept.
    """

    kind = "take"
    alone = "count"
    record_wise = False
    count: int = Field(ge=0)


class Until(Node):
    """Keep the records up to where `fn`, asked in front of each, says that it is enough; for a look at what is read.

    Attributes:
        fn: whether it is enough.
    """

    kind = "until"
    record_wise = False
    fn: Callable[[], bool]


class Skip(Node):
    """Pass over the first `count` records.

    Attributes:
        count: how many records are passed over.
    """

    kind = "skip"
    alone = "count"
    record_wise = False
    count: int = Field(ge=0)


class Every(Node):
    """Keep one record of every `count`, beginning with the one numbered `offset`.

    Attributes:
        count: of how many records one is kept.
        offset: the number of the first that is kept.
    """

    kind = "every"
    alone = "count"
    record_wise = False
    count: int = Field(ge=1)
    offset: int = Field(default=0, ge=0)


class Sample(Node):
    """Keep about `ratio` of the records, each chosen by its number and `seed`.

    Attributes:
        ratio: how many are kept of one, about.
        seed: another one chooses others.
    """

    kind = "sample"
    alone = "ratio"
    record_wise = False
    ratio: float = Field(ge=0, le=1)
    seed: int = 0


class Shard(Node):
    """Keep the records of one rank of `world`: every `world`-th, beginning with the one numbered `rank`.

    Attributes:
        rank: whose records are kept, from 0.
        world: how many ranks there are.
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


class Batch(Node):
    """Gather records into batches of `size`, or as many as `size_bytes` or `tokens` hold.

    Attributes:
        size: records in a batch.
        form: what a batch is: the list of `records`, a dict of `columns` (lists), an `arrow` table, or a dict of
            `numpy` arrays.
        drop_last: leave out a last batch that is not full.
        size_bytes: bytes of the records as JSON.
        tokens: lengths of the column `length_of`, each counted as the longest of its batch.
        length_of: the column of the tokens that `tokens` counts.
    """

    kind = "batch"
    alone = "size"
    record_wise = False
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


class Sliding(Node):
    """Give lists of `size` records in a row, each beginning `step` records after the last.

    Attributes:
        size: records in a list.
        step: how many records behind the last one's beginning the next begins.
    """

    kind = "sliding"
    alone = "size"
    record_wise = False
    size: int = Field(ge=1)
    step: int = Field(default=1, ge=1)


class Slice(Node):
    """Keep the records of a dataset that `[start:stop:step]` names.

    Attributes:
        start: the number of the first; a negative one counts from the end.
        stop: the number in front of which it ends; a negative one counts from the end.
        step: how many numbers further on the next one stands; a negative one goes backwards.
    """

    kind = "slice"
    record_wise = False
    start: int | None = None
    stop: int | None = None
    step: int | None = None

    @field_validator("step")
    @classmethod
    def _check_step(cls, step: int | None) -> int | None:
        if step == 0:
            raise PydanticCustomError("slice", "expected a whole number other than 0, got 0")
        return step


class Pick(Node):
    """Keep the records of a dataset at these places, in this order; the list of them is short for it.

    Attributes:
        places: the numbers of the records; negative ones count from the end.
    """

    kind = "pick"
    alone = "places"
    record_wise = False
    places: tuple[int, ...]


class Shuffle(Node):
    """Give the records block by block, the `buffer` records of each in an order that follows from `seed`.

    Attributes:
        seed: another one gives another order.
        buffer: None orders all records of a dataset at once, in no memory.
    """

    kind = "shuffle"
    record_wise = False
    seed: int = 0
    buffer: int | None = Field(default=10_000, ge=1)


class Prefetch(Node):
    """Read up to `count` records ahead of who consumes them, in a thread.

    Attributes:
        count: records read ahead at most.
    """

    kind = "prefetch"
    alone = "count"
    record_wise = False
    count: int = Field(ge=1)


class Repeat(Node):
    """Go through all in front of it `epochs` times, None for ever; what shuffles there does so anew each time.

    Attributes:
        epochs: how often all is gone through; None for ever.
        start: the number of the first epoch; `epochs` are gone through from there.
    """

    kind = "repeat"
    alone = "epochs"
    record_wise = False
    epochs: int | None = Field(default=None, ge=0)
    start: int = Field(default=0, ge=0)


class Pack(Node):
    """Pack token sequences into records of at most `max_tokens` tokens, with `segment_ids` and `positions`.

    Attributes:
        max_tokens: tokens a packed record holds at most.
        column: the column of the tokens.
        also: columns with a value for each token, packed along with them.
        how: `first_fit` keeps sequences whole, each in the first open bin with room for it; `concat_and_split` puts
            them in a row and cuts it every `max_tokens`.
        buffer: of `first_fit`, bins opened before all are given.
        split: of `first_fit`, a longer sequence is cut into pieces; without it, it fails.
        drop_last: of `concat_and_split`, leave out a last record that is not full.
    """

    kind = "pack"
    alone = "max_tokens"
    record_wise = False
    max_tokens: int = Field(ge=1)
    column: str = "input_ids"
    also: tuple[str, ...] | None = None
    how: Literal["first_fit", "concat_and_split"] = "first_fit"
    buffer: int = Field(default=128, ge=1)
    split: bool = False
    drop_last: bool = False

    @model_validator(mode="after")
    def _check_fit(self) -> Pack:
        if self.how == "first_fit" and self.drop_last:
            raise PydanticCustomError("pack", "drop_last needs `how: concat_and_split`: no other record is ever full")
        if self.how == "concat_and_split" and self.split:
            raise PydanticCustomError("pack", "split needs `how: first_fit`: the other way cuts any sequence")
        names = [*self.packed, SEGMENT_IDS, POSITIONS]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise PydanticCustomError("pack", "two columns would be one: `{name}`", {"name": twice})
        return self

    @property
    def packed(self) -> tuple[str, ...]:
        """The columns that are packed, the tokens first."""
        return self.column, *(self.also or ())
