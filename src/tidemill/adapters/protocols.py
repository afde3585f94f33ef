"""What the adapters ask of a stream and of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self, runtime_checkable

from tidemill.errors import ConfigError
from tidemill.protocols import RecordIterator, State

Even = Literal["drop", "pad"]
"""How shards come to equal lengths: leave the last records out, or give some of them again."""


@runtime_checkable
class Iterable(Protocol):
    """A stream: iterators that know where they stand."""

    def iterate(self, state: State | None = None) -> RecordIterator: ...


class Shardable(Iterable, Protocol):
    """A stream that shares its records out, and has epochs."""

    def shard(self, rank: int, world: int, *, even: Even | None = None, early: bool = False) -> Self: ...
    def repeat(self, epochs: int | None = None, *, start: int = 0) -> Self: ...


@runtime_checkable
class Indexable(Protocol):
    """A dataset: a length and records by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...


def check_stream(records: Any) -> None:
    """Refuse what cannot be iterated from a state.

    Raises:
        ConfigError: it is no stream.
    """
    if not isinstance(records, Iterable):
        hint = "a dataset is a map-style dataset as it is" if isinstance(records, Indexable) else "tidemill.read(…)"
        raise ConfigError(f"expected a stream, got a {type(records).__name__}", hint=hint)


def read_rows(dataset: Indexable, indices: Sequence[int]) -> list[Any]:
    """The records of these numbers, in one go where the dataset can."""
    many = getattr(dataset, "__getitems__", None) or getattr(dataset, "read_rows", None)
    return list(many(indices)) if many is not None else [dataset[index] for index in indices]
