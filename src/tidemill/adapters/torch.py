"""Streams as PyTorch's iterable datasets: sharded over ranks and workers, resumable within an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, cast

from tidemill.adapters.protocols import Even, Shardable, check_stream
from tidemill.data.merging import find_epoch, is_merged
from tidemill.data.states import check_version
from tidemill.errors import ConfigError, StateError
from tidemill.packages import missing_package
from tidemill.protocols import RecordIterator, State

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ModuleNotFoundError as error:
    raise missing_package("a stream for PyTorch", "torch", "torch", error) from error

STATE_VERSION = 1

_KEYS = ("shard", "shards", "epoch", "records")
"""What stands in a state beside its version."""

Share = Callable[[Any, int, int, Even | None], Shardable]
"""Gives one shard of a stream: of the stream, the shard's number, how many there are, and how they come out even."""


def shard_stream(stream: Shardable, shard: int, shards: int, even: Even | None) -> Shardable:
    """One shard of `stream`, made by its own `shard`, as near to its source as its steps allow."""
    return stream.shard(shard, shards, even=even, early=True)


def to_torch(
    stream: Shardable,
    *,
    rank: int | None = None,
    world: int | None = None,
    even: Even | None = None,
    share: Share = shard_stream,
) -> TorchStream:
    """The stream as an `IterableDataset`, for a `DataLoader` or torchdata's `StatefulDataLoader`.

    Each worker of each rank gets a shard of its own: together they give every record once. Records come as they are;
    `tidemill.collate` makes tensors of them.

    Order: the stream's, within each shard.   Memory: the stream's, in each worker.
    Failure: raised; the loader then drops the batch it was filling, so give the steps `on_error="skip"` where records
    may fail. A later resume reads that batch again.
    Resume: exact, by `state_dict`, on the same number of ranks and workers; a `StatefulDataLoader` keeps one for each
    worker, taken with each batch.

    Args:
        rank: the number of this process among `world`. By default that of `torch.distributed` where it is initialised,
            else 0 of 1. Where something else shares the records out among the processes, as Accelerate and the
            Trainer do, give 0 and 1.
        world: how many processes there are.
        even: `drop` leaves out the last records that do not go round all workers of all ranks, `pad` gives some again;
            by default shards differ by one record, and ranks by as many as they have workers.
        share: how one shard is made.

    Raises:
        ConfigError: it is no stream, `rank` or `world` stands without the other, or the rank is not below the world.
    """
    check_stream(stream)
    if (rank is None) != (world is None):
        raise ConfigError("expected rank and world together, got one of them")
    if rank is not None and world is not None and not 0 <= rank < world:
        raise ConfigError(f"expected a rank from 0 to below world, {world}, got {rank}")
    return TorchStream(stream, None if rank is None or world is None else (rank, world), even, share)


class TorchStream(IterableDataset[Any]):
    """What `to_torch` gives. It pickles to its stream, its epoch and a state that was loaded and not yet used.

    Threads: one at a time. Processes: `set_epoch` reaches workers that are running, from their next epoch on.
    """

    def __init__(self, stream: Shardable, rank: tuple[int, int] | None, even: Even | None, share: Share) -> None:
        self._stream = stream
        self._rank = rank  # and world
        self._even: Even | None = even
        self._share = share
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers that stay see it change
        self._loaded: State | None = None
        self._reading: _Reading | None = None

    def __iter__(self) -> Iterator[Any]:
        """The records of this process's shard, from the state loaded last if it was not used yet, else from the start.

        Raises:
            StateError: the state is of another shard.
        """
        reading = _Reading(self._open, *self._find_shard(), int(self._epoch))
        if self._loaded is not None:
            state, self._loaded = self._loaded, None
            reading.load(state)
        self._reading = reading
        records = cast(ShardRecords, ShardRecords.from_iterable(reading.iter_links()))
        records._reading = reading
        return records

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, counted from 0: what shuffles does so anew, as in front of `repeat`.

        A state that is loaded says its own epoch.
        """
        self._epoch.fill_(epoch)

    def state_dict(self) -> State:
        """Where the iterator that was opened last stands, or the next one will start: JSON, holding no records."""
        if self._loaded is not None:
            return self._loaded
        reading = self._reading or _Reading(self._open, *self._find_shard(), int(self._epoch))
        return reading.state()

    def load_state_dict(self, state: State) -> None:
        """Let the next iteration go on from `state`; the one after it starts anew.

        Raises:
            StateError: the state is of another version.
        """
        if is_merged(state):
            self._loaded = state
            self.set_epoch(max(int(self._epoch), find_epoch(state)))
            return
        check_version(state, STATE_VERSION, *_KEYS)
        self._loaded = state
        self.set_epoch(max(int(self._epoch), state["epoch"]))  # not back: the next epoch may have been set already

    def __getstate__(self) -> dict[str, Any]:
        # Spawned workers know nothing of the process group: what it says is settled here.
        return {**self.__dict__, "_reading": None, "_rank": self._find_rank()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def _open(self, shard: int, shards: int, epoch: int, state: State | None) -> RecordIterator:
        stream = self._share(self._stream, shard, shards, self._even)
        return (stream.repeat(1, start=epoch) if epoch else stream).iterate(state)

    def _find_shard(self) -> tuple[int, int]:
        """The number of this worker's shard, and how many there are."""
        rank, world = self._find_rank() or (0, 1)
        info = get_worker_info()
        return (rank, world) if info is None else (rank * info.num_workers + info.id, world * info.num_workers)

    def _find_rank(self) -> tuple[int, int] | None:
        if self._rank is None and torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return self._rank


class ShardRecords(chain[Any]):
    """The records of one shard, at the speed of the stream's own iterator.

    A loader keeps this iterator's state, not the dataset's: several may be open over one dataset.
    """

    _reading: _Reading

    def state_dict(self) -> State:
        """Where the iterator stands."""
        return self._reading.state()

    def load_state_dict(self, state: State) -> None:
        """Go on from `state`; only in front of the first record.

        Raises:
            StateError: a record was given already, or the state is of another shard or version.
        """
        self._reading.load(state)


class _Reading:
    """Where one iterator starts and, once it was asked for a record, what it reads."""

    def __init__(
        self, open_at: Callable[[int, int, int, State | None], RecordIterator], shard: int, shards: int, epoch: int
    ) -> None:
        self._open_at = open_at
        self._shard = shard
        self._shards = shards
        self._epoch = epoch
        self._start: State | None = None
        self._records: RecordIterator | None = None

    def iter_links(self) -> Iterator[RecordIterator]:
        self._records = self._open_at(self._shard, self._shards, self._epoch, self._start)
        yield self._records

    def state(self) -> State:
        records = self._start if self._records is None else self._records.state()
        place = {"shard": self._shard, "shards": self._shards, "epoch": self._epoch}
        return {"version": STATE_VERSION, **place, "records": records}

    def load(self, state: State) -> None:
        if is_merged(state):
            self._epoch, self._start = find_epoch(state), state
            return
        check_version(state, STATE_VERSION, *_KEYS)
        if self._records is not None:
            raise StateError(
                "expected a state in front of the first record, but records were given already",
                hint="take a new iterator",
            )
        then, now = (state["shard"], state["shards"]), (self._shard, self._shards)
        if then != now:
            raise StateError(
                f"the state is of shard {then[0]} of {then[1]}, but this worker reads shard {now[0]} of {now[1]}",
                hint="give the loader as many ranks and workers as it had when the state was taken, and each worker "
                "its own state, as torchdata's StatefulDataLoader does; or load tidemill.merge_states([…]) of the "
                "states of all loaders into the dataset, for any number of them",
            )
        self._epoch = state["epoch"]
        self._start = state["records"]
