"""What a `datasets.IterableDataset` reads a stream through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datasets.iterable_dataset import _BaseExamplesIterable  # the one way to give it a state of one's own

from tidemill.adapters.protocols import Shardable
from tidemill.protocols import RecordIterator, State


class StreamExamples(_BaseExamplesIterable):  # type: ignore[misc]  # datasets ships no types
    """The examples of some of the shards of a stream, one shard after the other.

    Its state is the place of the shard among them and the stream's own state within that shard.
    """

    _sleep_on_threads_shutdown = False  # what is asked of every source: ours leaves no thread of a library behind

    def __init__(self, stream: Shardable, chosen: tuple[int, ...], shards: int) -> None:
        super().__init__()
        self._stream = stream
        self._chosen = chosen
        self._shards = shards

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = {"shard_idx": 0, "records": None, "type": type(self).__name__}
        return self._state_dict

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        mark: dict[str, Any] = self._state_dict or {"shard_idx": 0, "records": None}
        for place in range(mark["shard_idx"], len(self._chosen)):
            records = self._open(self._chosen[place], mark["records"])
            mark["records"] = _Place(records)
            for number, record in enumerate(records):
                yield f"{place}_{number}", record
            mark["shard_idx"], mark["records"] = place + 1, None

    def shuffle_data_sources(self, generator: Any) -> StreamExamples:
        """The shards in another order."""
        order = generator.permutation(len(self._chosen)).tolist()
        return StreamExamples(self._stream, tuple(self._chosen[index] for index in order), self._shards)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> StreamExamples:
        """The share of one worker or node."""
        indices = self.split_shard_indices_by_worker(num_shards, index, contiguous=contiguous)
        return StreamExamples(self._stream, tuple(self._chosen[index] for index in indices), self._shards)

    def reshard_data_sources(self) -> StreamExamples:
        """As it is: into how many shards the stream is split was said."""
        return self

    @property
    def num_shards(self) -> int:
        """How many shards there are to split."""
        return len(self._chosen)

    def _open(self, shard: int, state: State | None) -> RecordIterator:
        return (self._stream if self._shards == 1 else self._stream.shard(shard, self._shards)).iterate(state)


class _Place:
    """Stands in a state for the iterator's own, which is asked for when the state is copied: not at each record."""

    def __init__(self, records: RecordIterator) -> None:
        self._records = records

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._records.state(),)
