"""What a user implements to bring their own source, sink or model.

Each protocol is small, checked by one contract suite in `tidemill.testing`, and used only through these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self, runtime_checkable

import msgspec

Record = dict[str, Any]
"""One item. A plain dict on hot paths; a stream of anything else is allowed in plain iteration."""

State = dict[str, Any]
"""Where an iterator stands: JSON, holding no records."""

Growth = Literal["same", "grown", "cut", "edited"]
"""What became of a part: unchanged, longer, longer within the last line that was read, changed before that."""


@runtime_checkable
class RecordIterator(Protocol):
    """An iterator that can say where it stands.

    `state()` is exact between records: opening again with it gives the same tail. An iterator that raised
    `DataError` for one record goes on with the next when asked again. `close()` may be called twice.
    """

    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def state(self) -> State: ...
    def close(self) -> None: ...


@runtime_checkable
class Source(Protocol):
    """Where records come from: named parts, each read in order."""

    def parts(self, start: str | None = None) -> Iterable[str]:
        """The names of the parts in reading order, from `start` on; they may be found as they are asked for.

        Raises:
            DataError: there is none; names the pattern and the folder. Told when the first is asked for.
        """
        ...

    def open_part(self, part: str, state: State | None = None) -> RecordIterator:
        """The records of one part, from its start or from `state`."""
        ...

    def decode_record(self, raw: bytes) -> Any:
        """One record from the bytes a `DataError` carried: how `retry` tries a corrupt record again."""
        ...

    def compare_part(self, part: str, state: State) -> Growth:
        """Whether `part`, up to `state`, is unchanged: `same` or `grown` behind it, else `cut` or `edited`."""
        ...

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """How much of `part` lies before `state` and how much there is in all, in one unit; None when unknown."""
        ...

    def describe(self) -> dict[str, Any]:
        """The source as JSON: what its fingerprint is made of."""
        ...


Vectors = Any
"""Vectors of one length: float32 (count, dimensions) in a NumPy array, an Arrow array of fixed-size lists or a tensor
of this machine, or a sequence of sequences of numbers."""

Filter = Mapping[str, Any]
"""What a match's payload has to have, by field; all of it holds. A field's value is the one it equals (None: it has
none), a list of those it may be, or a mapping of `eq ne gt ge lt le in not_in` to what each compares with."""


class Upserted(msgspec.Struct, frozen=True, gc=False):
    """What became of one record of an `upsert`.

    Attributes:
        id: the record's.
        kind: `stored`; `superseded` by a later record of the same id in the same call, the last of which is stored; or
            `refused`, with the reason in `error`.
        error: why it was refused, for a person; else empty.
    """

    id: str
    kind: Literal["stored", "superseded", "refused"]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """One record near a vector, or fetched by its id.

    Attributes:
        id: the record's.
        score: how near it is, the greater the nearer: the cosine of the angle, the dot product, or the Euclidean
            distance below zero, as the store's metric is; 1.0 where it was fetched.
        payload: what was stored along with the vector.
        vector: float32 (dimensions,); None where it was not asked for.
    """

    id: str
    score: float
    payload: Mapping[str, Any] = field(default_factory=dict)
    vector: Sequence[float] | None = None


@runtime_checkable
class VectorStore(Protocol):
    """Vectors with payloads by id, held outside: what `async with settings.open() as store` gives.

    Idempotent by id: a record that is upserted again replaces the one there, so that what was not known to have landed
    is sent again. Any number of tasks of one loop may use it at once; another loop's use is refused. Closed when its
    block ends, however it ends: every connection is given back on cancellation, and none outlives the block.

    What is wrong with one record is that record's outcome. Else is raised, and says by `of` whose failure it is:
    `TransientCallError` where the same may go well when it is tried again, of the record; one that
    `calls.wire.UnreachableError` is where no connection came about. `PermanentCallError` where it will not: of the
    record where the far side refuses a search, or many records of an upsert; else of the run, since what is wrong with
    the place fails every record alike: its credentials, its schema, a full disk. `StateError`, of the run, where the
    place is of other dimensions or made with other fields, where the store was closed or belongs to another loop.
    """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def upsert(
        self, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]] | None = None
    ) -> Sequence[Upserted]:
        """Put records in, or in place of those of the same ids; durable once it returns. An outcome for each, in order.

        Raises:
            DataError: there are not as many ids, vectors and payloads.
        """
        ...

    async def search(
        self, vectors: Vectors, k: int, filter: Filter | None = None, *, with_vectors: bool = False
    ) -> Sequence[Sequence[Match]]:
        """For each vector the `k` nearest records that `filter` lets pass, nearest first; fewer where there are fewer.

        Raises:
            DataError: a vector is of another length, or not of finite numbers; the filter names no field of the store.
        """
        ...

    async def fetch(self, ids: Sequence[str], *, with_vectors: bool = False) -> Sequence[Match | None]:
        """The record of each id, in order; None where there is none."""
        ...

    async def delete(self, ids: Sequence[str]) -> int:
        """Take records out; how many there were."""
        ...

    async def count(self, filter: Filter | None = None) -> int:
        """How many records there are that `filter` lets pass."""
        ...

    async def flush(self) -> None:
        """Have what was upserted found by `search` at its full speed: indexes built, small files merged."""
        ...
