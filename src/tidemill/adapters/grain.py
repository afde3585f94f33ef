"""Streams and datasets for grain: checkpointed iterators, random access."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import orjson

from tidemill.adapters.protocols import Indexable, Shardable, check_stream, read_rows
from tidemill.data.states import check_version
from tidemill.packages import missing_package
from tidemill.protocols import RecordIterator

try:
    import grain
except ModuleNotFoundError as error:
    raise missing_package("a stream for grain", "grain", "grain", error) from error

STATE_VERSION = 1


@overload
def to_grain(records: Indexable) -> GrainSource: ...
@overload
def to_grain(records: Shardable) -> GrainStream: ...
def to_grain(records: Any) -> GrainSource | GrainStream:
    """A dataset as a `RandomAccessDataSource`, any other stream as an `IterDataset`.

    The first goes into `grain.MapDataset.source(…)` or a `grain.DataLoader`, the second is a grain dataset itself:
    `.map`, `.batch`, `.mix` and `.mp_prefetch` follow. Each worker of `mp_prefetch` reads a shard of its own.

    Order: the stream's; behind `mp_prefetch` the workers take turns.   Memory: the stream's.   Failure: raised.
    Resume: exact, by grain's `get_state` and `set_state`.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(records, Indexable):
        return GrainSource(records)
    check_stream(records)
    return GrainStream(records)


class GrainSource:
    """The records of a dataset by number, one at a time or several in one go."""

    def __init__(self, dataset: Indexable) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[index]

    def _getitems(self, indices: Sequence[int]) -> list[Any]:
        """The records of these numbers: grain's own name for it."""
        return read_rows(self._dataset, indices)

    def __repr__(self) -> str:
        return f"GrainSource({self._dataset!r})"  # by which grain's DataLoader knows its own checkpoints


class GrainStream(grain.IterDataset):  # type: ignore[misc]  # grain ships no types
    """A stream as a grain dataset."""

    def __init__(self, stream: Shardable, shard: int = 0, shards: int = 1) -> None:
        super().__init__()
        self._stream = stream
        self._shard = shard
        self._shards = shards

    def set_slice(self, chosen: slice, sequential_slice: bool = False) -> None:
        """Let this copy of the dataset be one worker's: every `chosen.step`-th record from `chosen.start` on."""
        del sequential_slice  # a stream has no length, so no consecutive stretches either
        self._shard += self._shards * chosen.start
        self._shards *= chosen.step

    def __iter__(self) -> GrainRecords:
        shards = self._shards
        return GrainRecords(self._stream if shards == 1 else self._stream.shard(self._shard, shards))

    def __str__(self) -> str:
        return f"GrainStream({self._stream!r}, shard {self._shard} of {self._shards})"


class GrainRecords(grain.DatasetIterator):  # type: ignore[misc]  # as above
    """An iterator over a stream with grain's checkpoints: of one shape at every position, as grain asks for."""

    def __init__(self, stream: Shardable) -> None:
        super().__init__()
        self._stream = stream
        self._records: RecordIterator = stream.iterate()

    def __next__(self) -> Any:
        self._assert_not_closed()
        return next(self._records)

    def get_state(self) -> dict[str, Any]:
        """Where the iterator stands: the stream's state as one JSON string."""
        state = orjson.dumps(self._records.state(), option=orjson.OPT_SORT_KEYS)
        return {"version": STATE_VERSION, "records": state.decode()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, whatever was given before.

        Raises:
            StateError: it is of another version or another stream.
        """
        check_version(state, STATE_VERSION, "records")
        records = self._stream.iterate(orjson.loads(state["records"]))
        self._records.close()
        self._records = records

    def close(self) -> None:
        """Close what the stream reads; may be called twice."""
        super().close()
        if hasattr(self, "_records"):  # grain closes what it drops, one that could not be opened too
            self._records.close()
