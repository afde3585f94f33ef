"""Several streams as one source: what all ways of joining them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.data.flow import Flow, describe_flows
from tidemill.data.iteration import Records, iterate
from tidemill.data.reader import PartReader
from tidemill.data.records.origin import Origin, gather_origins
from tidemill.data.stages.others import find_changed_join, stamp_stream
from tidemill.errors import ConfigError, DataError
from tidemill.protocols import Growth, State

JOINED_PART = "joined"
"""The name of the one part of joined streams."""


class Joined(ABC):
    """Several streams as one source of one part. Frozen; equal by description.

    Attributes:
        flows: the streams.
    """

    kind: str

    def __init__(self, flows: Sequence[Flow]) -> None:
        if not flows:
            raise ConfigError(f"expected at least one stream to {self.kind}, got none")
        self.flows = tuple(flows)

    @abstractmethod
    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """The records, from the first or from `state`."""

    def parts(self, start: str | None = None) -> Sequence[str]:
        """The one part."""
        return (JOINED_PART,)

    def decode_record(self, raw: bytes) -> Any:
        """Not possible: the bytes do not say which of the streams they are of."""
        raise DataError("expected a record of one of several streams, which its bytes do not name", raw=raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """`same`, unless a part that one of the streams stands in was edited, or grew, or what one is joined with."""
        changes: set[Growth] = {"same"}
        for flow, inner in zip(self.flows, state["inner"], strict=True):
            if inner["part"] is not None and inner["source"] is not None:
                changes.add(flow.source.compare_part(inner["part"], inner["source"]))
            if find_changed_join(flow.nodes, inner.get("others", {}), iterate) is not None:
                changes.add("edited")
        worst: tuple[Growth, ...] = ("edited", "cut", "grown", "same")
        return next(growth for growth in worst if growth in changes)

    def stamp(self) -> str:
        """What changes when one of the streams does, as far as their sources tell."""
        return fingerprint_json([stamp_stream(flow.source, flow.nodes) for flow in self.flows])[:16]

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Unknown."""
        return None

    def describe(self) -> dict[str, Any]:
        """The streams as JSON."""
        return {self.kind: describe_flows(self.flows)}

    def show(self) -> str:
        """The streams in a line."""
        return f"{self.kind}({', '.join(flow.show() for flow in self.flows)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((self.kind, *(hash(flow.nodes) for flow in self.flows)))


class JoinedReader(PartReader):
    """What several streams give together.

    Order: theirs, in a sequence that its kind gives.   Memory: that of each stream.
    Failure: a stream's, at its place.   Resume: exact.   Threads: any, one at a time.
    """

    members: Members

    def state(self, back: int = 0) -> State:
        return self.members.state(back)

    def explain(self) -> Origin:
        """Where the record given last came from."""
        return self.members.find_origin(Records.explain)

    def origin(self) -> Origin:
        """The same, as far as is known without reading again."""
        return self.members.find_origin(Records.origin)

    def close(self) -> None:
        self.members.close()


class Members:
    """The streams that are read, and whose turn it is; shared by a reader and the generator that feeds it.

    Attributes:
        inner: each stream's iterator.
        own: where the sequence stands: JSON, as its kind has it.
        last: whose record was given last; None for all of them at once.
        epochs: how often each began again.
        fresh: whether each gave nothing since.
        ended: whether each is at its end for good.
    """

    def __init__(self, flows: Sequence[Flow], own: list[int], state: State | None) -> None:
        self._flows = flows
        self.own: list[int] = list(state["own"]) if state else own
        self._own_before = self.own
        self.epochs: list[int] = list(state["epochs"]) if state else [0] * len(flows)
        self.fresh: list[bool] = list(state["fresh"]) if state else [True] * len(flows)
        self.ended: list[bool] = list(state["ended"]) if state else [False] * len(flows)
        states = state["inner"] if state else [None] * len(flows)
        self.inner = [
            flow.iterate(inner, epoch=(epoch,) if epoch else ())
            for flow, inner, epoch in zip(flows, states, self.epochs, strict=True)
        ]
        self.last: int | None = 0

    def state(self, back: int) -> State:
        inner = [records.state(back if self.last in (None, index) else 0) for index, records in enumerate(self.inner)]
        own = self._own_before if back else self.own
        return {
            "inner": inner,
            "own": list(own),
            "epochs": list(self.epochs),
            "fresh": list(self.fresh),
            "ended": list(self.ended),
        }

    def take(self, index: int, own: list[int]) -> Any:
        """The next record of one stream; with it the sequence stands at `own`.

        Raises:
            StopIteration: the stream is at its end.
        """
        record = next(self.inner[index])
        self.advance(index, own)
        self.fresh[index] = False
        return record

    def advance(self, last: int | None, own: list[int]) -> None:
        """Note whose record is given, and where the sequence stands behind it."""
        self.last = last
        self._own_before, self.own = self.own, own

    def begin_again(self, index: int) -> None:
        """One stream from its start, in the orders of another epoch."""
        self.inner[index].close()
        self.epochs[index] += 1
        self.fresh[index] = True
        self.inner[index] = self._flows[index].iterate(epoch=(self.epochs[index],))

    def find_origin(self, find: Callable[[Records], Origin]) -> Origin:
        if self.last is None:
            return gather_origins(tuple(map(find, self.inner)), "zip")
        return find(self.inner[self.last])

    def close(self) -> None:
        for records in self.inner:
            records.close()


Draw = Callable[[Members], Iterator[Any]]
"""The records in their sequence, from where the streams stand; ended by an error, it is asked for once more."""


def open_joined(flows: Sequence[Flow], draw: Draw, own: list[int], state: State | None) -> JoinedReader:
    """A reader of several streams; `own` is where their sequence begins."""
    members = Members(flows, own, state)
    reader = cast(JoinedReader, JoinedReader.from_iterable(_iter_links(members, draw)))
    reader.members = members
    return reader


def _iter_links(members: Members, draw: Draw) -> Iterator[Iterable[Any]]:
    while True:
        link = _Drawn(draw(members))
        yield link
        if link.ended:
            return


class _Drawn:
    """Records as a link that knows whether it came to its end or to an error."""

    def __init__(self, records: Iterator[Any]) -> None:
        self._records = records
        self.ended = False

    def __iter__(self) -> Iterator[Any]:
        return self._go_through()

    def _go_through(self) -> Iterator[Any]:
        yield from self._records
        self.ended = True
