"""Several streams as one source: one after the other, side by side, in turns, or mixed by weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, cast, get_args

from tidemill.data.fingerprints import fingerprint_json
from tidemill.data.flow import Flow, describe_flows
from tidemill.data.formats.format import Rows
from tidemill.data.hooks import bind_hooks
from tidemill.data.iteration import Records
from tidemill.data.order import choose_ratio
from tidemill.data.origin import Origin, gather_origins
from tidemill.data.reader import PartReader
from tidemill.data.rows.views import JoinedRows, ZippedRows
from tidemill.data.sources.rows import RowSource, is_dataset, open_dataset_rows
from tidemill.errors import ConfigError, DataError
from tidemill.protocols import Growth, State

JOINED_PART = "joined"
"""The name of the one part of joined streams."""

Stop = Literal["first", "all", "longest"]
"""When a mix ends: with the first stream that ends, when all have ended, or when the longest has, while those that
ended before begin again."""


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
        """`same`, unless a part that one of the streams stands in was edited, or grew."""
        changes: set[Growth] = {"same"}
        for flow, inner in zip(self.flows, state["inner"], strict=True):
            if inner["part"] is not None and inner["source"] is not None:
                changes.add(flow.source.compare_part(inner["part"], inner["source"]))
        worst: tuple[Growth, ...] = ("edited", "cut", "grown", "same")
        return next(growth for growth in worst if growth in changes)

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

    turns: Turns

    def state(self, back: int = 0) -> State:
        return self.turns.state(back)

    def explain(self) -> Origin:
        """Where the record given last came from."""
        return self.turns.find_origin(Records.explain)

    def origin(self) -> Origin:
        """The same, as far as is known without reading again."""
        return self.turns.find_origin(Records.origin)

    def close(self) -> None:
        self.turns.close()


class Turns:
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


Draw = Callable[[Turns], Iterator[Any]]
"""The records in their sequence, from where the streams stand; ended by an error, it is asked for once more."""


def open_joined(flows: Sequence[Flow], draw: Draw, own: list[int], state: State | None) -> JoinedReader:
    """A reader of several streams; `own` is where their sequence begins."""
    turns = Turns(flows, own, state)
    reader = cast(JoinedReader, JoinedReader.from_iterable(_iter_links(turns, draw)))
    reader.turns = turns
    return reader


def _iter_links(turns: Turns, draw: Draw) -> Iterator[Iterable[Any]]:
    while True:
        link = _Drawn(draw(turns))
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


class Concat(Joined):
    """Streams one after the other."""

    kind = "concat"

    def open_part(self, part: str, state: State | None = None) -> JoinedReader:
        return open_joined(self.flows, _draw_in_order, [], state)


def _draw_in_order(turns: Turns) -> Iterator[Any]:
    for index, records in enumerate(turns.inner):
        if not turns.ended[index]:
            turns.last = index
            for record in records:  # noqa: UP028 - `yield from` would close the stream in whatever thread drops it
                yield record
            turns.ended[index] = True


class Zip(Joined):
    """Tuples of one record of each stream, as many as the shortest has.

    Attributes:
        strict: streams of different lengths are an error at the end of the shortest.
    """

    kind = "zip"

    def __init__(self, flows: Sequence[Flow], *, strict: bool = False) -> None:
        super().__init__(flows)
        self.strict = strict

    def open_part(self, part: str, state: State | None = None) -> JoinedReader:
        return open_joined(self.flows, self._draw, [0], state)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "strict": self.strict}

    def _draw(self, turns: Turns) -> Iterator[Any]:
        while (row := self._read_row(turns)) is not None:
            turns.advance(None, [turns.own[0] + 1])
            yield row

    def _read_row(self, turns: Turns) -> tuple[Any, ...] | None:
        """A record of each stream; all are passed over when one of them failed. None at the end."""
        row: list[Any] = []
        failure: BaseException | None = None
        for index, records in enumerate(turns.inner):
            try:
                row.append(next(records))
            except StopIteration:
                self._end(turns, index)
                return None
            except BaseException as error:  # noqa: BLE001 - raised when the others of the row were read
                failure = failure or error
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it has this frame in its traceback
        return tuple(row)

    def _end(self, turns: Turns, shortest: int) -> None:
        """The end of one stream is that of all; with `strict`, check that the others end there too."""
        if turns.ended[0]:
            return
        turns.ended = [True] * len(self.flows)
        if self.strict and (shortest or any(map(_has_more, turns.inner[1:]))):
            raise DataError(
                f"expected streams of one length, but one ends after {turns.own[0]:,} records and another goes on",
                hint="leave out strict=True to end with the shortest",
            )


def _has_more(records: Records) -> bool:
    try:
        next(records)
    except StopIteration:
        return False
    return True


class Interleave(Joined):
    """Records of each stream in turn, `block` at a time; one that has ended is left out.

    Attributes:
        block: records in a row of one stream.
    """

    kind = "interleave"

    def __init__(self, flows: Sequence[Flow], *, block: int = 1) -> None:
        super().__init__(flows)
        if block < 1:
            raise ConfigError(f"expected a block of at least 1 record, got {block}")
        self.block = block

    def open_part(self, part: str, state: State | None = None) -> JoinedReader:
        return open_joined(self.flows, self._draw, [0, 0], state)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "block": self.block}

    def _draw(self, turns: Turns) -> Iterator[Any]:
        while not all(turns.ended):
            index, given = turns.own
            if given == self.block or turns.ended[index]:
                turns.own = [(index + 1) % len(self.flows), 0]
                continue
            try:
                record = turns.take(index, [index, given + 1])
            except StopIteration:
                turns.ended[index] = True
            else:
                yield record


class Mix(Joined):
    """Records of the streams by weight; which stream gives the next one follows from `seed` and its number.

    Attributes:
        weights: of each stream; they need not sum to 1.
        stop: when it ends.
    """

    kind = "mix"

    def __init__(self, flows: Sequence[Flow], *, weights: Sequence[float] | None, seed: int, stop: Stop) -> None:
        super().__init__(flows)
        weights = [1.0] * len(self.flows) if weights is None else weights
        if len(weights) != len(self.flows):
            raise ConfigError(f"expected a weight for each of {len(self.flows)} streams, got {len(weights)}")
        if min(weights) < 0 or not sum(weights):
            raise ConfigError("expected weights of at least 0, and one above")
        if stop not in get_args(Stop):
            raise ConfigError(f"expected stop to be one of {', '.join(get_args(Stop))}, got {stop!r}")
        self.weights = tuple(map(float, weights))
        self.seed = seed
        self.stop = stop

    def open_part(self, part: str, state: State | None = None) -> JoinedReader:
        return open_joined(self.flows, self._draw, [0], state)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "weights": list(self.weights), "seed": self.seed, "stop": self.stop}

    def _draw(self, turns: Turns) -> Iterator[Any]:
        while (index := self._choose(turns)) is not None:
            try:
                record = turns.take(index, [turns.own[0] + 1])
            except StopIteration:
                self._end(turns, index)
            else:
                yield record

    def _choose(self, turns: Turns) -> int | None:
        """Whose turn it is; None when all have ended."""
        if self.stop == "longest" and all(
            epoch or ended or not weight
            for epoch, ended, weight in zip(turns.epochs, turns.ended, self.weights, strict=True)
        ):
            return None
        weights = [0.0 if ended else weight for weight, ended in zip(self.weights, turns.ended, strict=True)]
        place = choose_ratio(self.seed, turns.own[0]) * sum(weights)
        for index, weight in enumerate(weights):
            place -= weight
            if place < 0:
                return index
        return None

    def _end(self, turns: Turns, index: int) -> None:
        """What the end of one stream means for all."""
        if self.stop == "first":
            turns.ended = [True] * len(self.flows)
        elif self.stop == "all" or turns.fresh[index]:
            turns.ended[index] = True
        else:
            turns.begin_again(index)


class JoinedDatasets(RowSource):
    """Joined datasets, whose records have numbers: the same source with its rows."""

    joined: Joined

    def describe(self) -> dict[str, Any]:
        return self.joined.describe()

    def show(self) -> str:
        return self.joined.show()

    def stamp(self) -> str:
        stamps = [cast(RowSource, flow.source).stamp() for flow in self.joined.flows]
        return fingerprint_json(stamps)[:16] if any(stamps) else ""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.joined == other.joined

    def __hash__(self) -> int:
        return hash(self.joined)

    @property
    def has_hooks(self) -> bool:
        return any(flow.hooks or cast(RowSource, flow.source).has_hooks for flow in self.joined.flows)

    def _open_members(self) -> list[Rows]:
        return [
            open_dataset_rows(cast(RowSource, flow.source), bind_hooks(flow.nodes, flow.hooks))
            for flow in self.joined.flows
        ]


class ConcatRows(JoinedDatasets):
    """Datasets one after the other, as one."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.joined = Concat(flows)

    def open_rows(self) -> Rows:
        return JoinedRows(self._open_members())


class ZipRows(JoinedDatasets):
    """Tuples of the records of datasets at one place, as one dataset as long as the shortest.

    Raises:
        DataError: with `strict`, their lengths differ; told when they are counted.
    """

    def __init__(self, flows: Sequence[Flow], *, strict: bool = False) -> None:
        self.joined = Zip(flows, strict=strict)

    def open_rows(self) -> Rows:
        members = self._open_members()
        sizes = [member.count_rows() for member in members]
        if cast(Zip, self.joined).strict and len(set(sizes)) > 1:
            raise DataError(
                f"expected datasets of one length, got {', '.join(f'{size:,}' for size in sizes)} records",
                hint="leave out strict=True to end with the shortest",
            )
        return ZippedRows(members)


def are_datasets(flows: Sequence[Flow]) -> bool:
    """Whether the records of all of them have numbers."""
    return all(is_dataset(flow.source, flow.nodes) for flow in flows)
