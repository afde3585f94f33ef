"""What a user implements to bring their own source, sink or model.

Each protocol is small, checked by one contract suite in `tidemill.testing`, and used only through these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol, runtime_checkable

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
