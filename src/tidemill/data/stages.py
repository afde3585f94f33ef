"""The iterators behind the steps of a source half.

A stage is a chain of builtin iterators, so no Python code of ours runs per record, and it works out where it stands
only when asked: `marks(0)` is its state now, `marks(1)` its state in front of the record it gave last. The latter is
exact as long as nothing was asked of the stage since, which is all `flat_map` needs, its one user.

Errors: a stage that raised goes on with the next record. An error out of what feeds a chain would end the chain, so
feeders hand errors over as links that raise (`raise_each`). A builtin `map` or `filter` takes a StopIteration out of
the user's function for the end; it was one only when the stage in front has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, compress, islice, repeat
from operator import length_hint
from sys import maxsize
from types import GeneratorType
from typing import Any, cast

from tidemill.data.reader import PartReader, raise_each
from tidemill.data.steps import RecordFunction, iter_children, stop_iteration_error
from tidemill.errors import StateError
from tidemill.protocols import RecordIterator, Source, State


class Stage(chain[Any]):
    """One step's iterator on top of the stage in front of it."""

    upstream: Stage

    def ended(self) -> bool:
        """Whether the source has been asked for more and had no more."""
        return self.upstream.ended()

    def marks(self, back: int) -> State:
        """The state of all stages up to this one; with `back=1`, in front of the record given last."""
        return self.upstream.marks(back)

    def close(self) -> None:
        """Close the file being read; may be called twice."""
        self.upstream.close()


def open_calls(upstream: Stage, make: Callable[[Stage], Iterator[Any]], step: str) -> Stage:
    """The stage that gives what `make(upstream)`, a `map` or a `filter`, gives."""
    stage = cast(Stage, Stage.from_iterable(_iter_calls(upstream, make, step)))
    stage.upstream = upstream
    return stage


def _iter_calls(upstream: Stage, make: Callable[[Stage], Iterator[Any]], step: str) -> Iterator[Iterator[Any]]:
    yield make(upstream)
    while not upstream.ended():
        yield raise_each((stop_iteration_error(step),))
        yield make(upstream)


class TakeStage(Stage):
    """The first records, counted by the ticks they leave."""

    index: int
    count: int
    ticks: repeat[bool]

    def ended(self) -> bool:
        return not length_hint(self.ticks) or self.upstream.ended()

    def marks(self, back: int) -> State:
        marks = self.upstream.marks(back)
        marks["steps"][str(self.index)] = {"taken": self.count - length_hint(self.ticks) - back}
        return marks


def open_take(upstream: Stage, index: int, count: int, mark: State | None) -> Stage:
    """The stage of a `take` step, going on from its `mark`."""
    ticks = repeat(True, count - (mark["taken"] if mark else 0))
    stage = cast(TakeStage, TakeStage.from_iterable(_iter_takes(upstream, ticks)))
    stage.upstream = upstream
    stage.index = index
    stage.count = count
    stage.ticks = ticks
    return stage


def _iter_takes(upstream: Stage, ticks: repeat[bool]) -> Iterator[Iterator[Any]]:
    """An error ends an `islice`, not the stream: go on with another of what is left."""
    counted = compress(upstream, ticks)
    while (left := length_hint(ticks)) and not upstream.ended():
        yield islice(counted, left)


class FlatMapStage(Stage):
    """The children of each record; its state is that in front of the parent, and how many children were given."""

    index: int
    parents: _Parents

    def marks(self, back: int) -> State:
        given = self.parents.given()
        marks = self.upstream.marks(0 if given is None else 1)
        emitted = self.parents.pending if given is None else given - back
        if emitted:
            marks["steps"][str(self.index)] = {"emitted": emitted}
        return marks


def open_flat_map(upstream: Stage, function: RecordFunction, index: int, step: str, mark: State | None) -> Stage:
    """The stage of a `flat_map` step, going on from its `mark`."""
    parents = _Parents(upstream, function, step, mark["emitted"] if mark else 0)
    stage = cast(FlatMapStage, FlatMapStage.from_iterable(parents))
    stage.upstream = upstream
    stage.index = index
    stage.parents = parents
    return stage


class _Parents:
    """Feeds a `flat_map` chain: for each record of `upstream` the iterator of its children."""

    def __init__(self, upstream: Stage, function: RecordFunction, step: str, emitted: int) -> None:
        self._upstream = upstream
        self._function = function
        self._step = step
        self.pending = emitted  # children of the parent to come that were given before the state was taken
        self._children: Iterator[Any] | None = None
        self._ticks = repeat(True, maxsize)

    def given(self) -> int | None:
        """How many children of the current parent were given, None when none is being gone through."""
        children = self._children
        if children is None or (isinstance(children, GeneratorType) and children.gi_frame is None):
            return None
        return maxsize - length_hint(self._ticks)

    def __iter__(self) -> Iterator[Iterator[Any]]:
        return self

    def __next__(self) -> Iterator[Any]:
        self._children = None
        emitted, self.pending = self.pending, 0
        try:
            parent = next(self._upstream)
        except StopIteration:
            raise
        except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
            return raise_each((error,))
        try:
            return self._open_children(parent, emitted)
        except StopIteration:
            return raise_each((stop_iteration_error(self._step),))
        except BaseException as error:  # noqa: BLE001 - as above
            return raise_each((error,))

    def _open_children(self, parent: Any, emitted: int) -> Iterator[Any]:
        children = iter_children(self._function(parent), self._step)
        ticks = repeat(True, maxsize)
        counted = compress(children, ticks)
        deque(islice(counted, emitted), maxlen=0)
        passed = maxsize - length_hint(ticks)
        if passed < emitted:
            raise StateError(
                f"the state stands behind child {emitted} of a record that now has {passed}",
                where=f"step `{self._step}`",
                hint="its function must give the same children each time; start without a state",
            )
        self._children, self._ticks = children, ticks
        return counted


class PartsStage(Stage):
    """The records of a source's parts, one part after the other."""

    cursor: _PartCursor

    def ended(self) -> bool:
        return self.cursor.ended

    def marks(self, back: int) -> State:
        cursor = self.cursor
        state = cursor.state if cursor.reader is None else _reader_state(cursor.reader, back)
        return {"part": cursor.part, "index": cursor.index, "source": state, "steps": {}}

    def close(self) -> None:
        if self.cursor.reader is not None:
            self.cursor.reader.close()


class _PartCursor:
    """Which part is being read; shared by the stage and the generator that feeds it."""

    def __init__(self, state: State | None) -> None:
        self.part: str | None = state["part"] if state else None
        self.index: int = state["index"] if state else 0
        self.state: State | None = state["source"] if state else None
        self.reader: RecordIterator | None = None
        self.ended = False


def open_parts(
    source: Source, names: tuple[str, ...], state: State | None, *, wrap: Callable[[RecordIterator], Iterator[Any]]
) -> Stage:
    """The stage that reads the parts `names`, each reader gone through as `wrap` says.

    Raises:
        StateError: the part that `state` stands in is not where it was.
    """
    cursor = _PartCursor(state)
    if cursor.part is not None and names[cursor.index : cursor.index + 1] != (cursor.part,):
        raise StateError(
            f"the state stands in part `{cursor.part}`, number {cursor.index}, which is not there now",
            hint="put the source's files back as they were, or start without a state",
        )
    stage = cast(PartsStage, PartsStage.from_iterable(_iter_parts(source, names, cursor, wrap)))
    stage.cursor = cursor
    return stage


def _iter_parts(
    source: Source, names: tuple[str, ...], cursor: _PartCursor, wrap: Callable[[RecordIterator], Iterator[Any]]
) -> Iterator[Iterator[Any]]:
    for index in range(cursor.index, len(names)):
        if cursor.reader is not None:
            cursor.reader.close()
        try:
            reader = source.open_part(names[index], cursor.state)
        except BaseException as error:  # noqa: BLE001 - raised by the chain, each time it is asked
            yield _Broken(error)
            return
        cursor.part, cursor.index, cursor.state = names[index], index, None
        cursor.reader = reader if isinstance(reader, PartReader) else _Remembering(reader)
        yield wrap(cursor.reader)
    cursor.ended = True


class _Broken:
    """Raises the same error for ever: nothing behind a part that cannot be opened may be read as if it were next."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self._error


class _Remembering:
    """A user's own `RecordIterator`, with its state one record back."""

    def __init__(self, reader: RecordIterator) -> None:
        self._reader = reader
        self._before = reader.state()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._before = self._reader.state()
        return next(self._reader)

    def state(self, back: int = 0) -> State:
        return self._before if back else self._reader.state()

    def close(self) -> None:
        self._reader.close()


def _reader_state(reader: RecordIterator, back: int) -> State:
    return cast(PartReader, reader).state(back)
