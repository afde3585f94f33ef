"""Several streams as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tidemill.data.flow import Flow
from tidemill.data.joined.rows import ConcatRows, ZipRows, are_datasets
from tidemill.data.joined.ways import Concat, Interleave, Zip
from tidemill.protocols import Source

if TYPE_CHECKING:
    from tidemill.stream.stream import Stream

T = TypeVar("T")
U = TypeVar("U")


class Joins(ABC, Generic[T]):
    """Each method gives a new stream over this one and others."""

    __slots__ = ()

    @property
    @abstractmethod
    def flow(self) -> Flow: ...

    def concat(self, *others: Stream[T]) -> Stream[T]:
        """This stream, then each of the others; `a + b` is short for it. Datasets give a dataset.

        Order: theirs.   Memory: that of one stream.   Failure: a stream's own, at its place.   Resume: exact.
        """
        flows = self._flows(others)
        return _make(ConcatRows(flows) if are_datasets(flows) else Concat(flows))

    def zip(self, *others: Stream[Any], strict: bool = False) -> Stream[tuple[Any, ...]]:
        """Tuples of one record of each, as many as the shortest has. Datasets give a dataset.

        Order: kept.   Memory: that of all streams.
        Failure: one that fails passes over the row and is raised; the next row follows.   Resume: exact.

        Args:
            strict: other lengths than that of the shortest are a `DataError` at its end.
        """
        flows = self._flows(others)
        return _make(ZipRows(flows, strict=strict) if are_datasets(flows) else Zip(flows, strict=strict))

    def interleave(self, *others: Stream[T], block: int = 1) -> Stream[T]:
        """Records of each stream in turn, `block` at a time; one that has ended is left out.

        Order: in turns.   Memory: that of all streams.   Failure: a stream's own, at its place.   Resume: exact.
        """
        return _make(Interleave(self._flows(others), block=block))

    def __add__(self, other: Stream[T]) -> Stream[T]:
        if not isinstance(other, Joins):
            return NotImplemented
        return self.concat(other)

    def _flows(self, others: tuple[Stream[Any], ...]) -> list[Flow]:
        return [self.flow, *(other.flow for other in others)]


def _make(source: Source) -> Stream[Any]:
    from tidemill.stream.stream import make_stream

    return make_stream(source)
