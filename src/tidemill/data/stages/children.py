"""The stage of a `flat_map`: each record's children."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import compress, islice, repeat
from operator import length_hint
from sys import maxsize
from types import GeneratorType
from typing import Any, cast

from tidemill.data.failing.failures import explain_failure
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin
from tidemill.data.stages.stage import Stage, guard
from tidemill.data.steps.functions import RecordFunction, iter_children
from tidemill.errors import StateError
from tidemill.protocols import State


class FlatMapStage(Stage):
    """The children of each record; its state is that in front of the parent, and how many children were given."""

    index: int
    parents: _Parents

    def ended(self) -> bool:
        return self.parents.ended

    def spot(self) -> Any:
        return self.parents.given(), self.upstream.spot()

    def describe(self, spot: Any) -> Origin:
        given, inner = spot
        return self._name_child(self.upstream.describe(inner), given)

    def explain(self) -> Origin:
        return self._name_child(self.upstream.explain(), self.parents.given())

    def _name_child(self, origin: Origin, given: int | None) -> Origin:
        return origin.through(f"{self.step} child {given - 1}" if given else self.step)

    def marks(self, back: int) -> State:
        given = self.parents.given()
        marks = self.upstream.marks(0 if given is None else 1)
        emitted = self.parents.pending if given is None else given - back
        mark: State = {"emitted": emitted} if emitted else {}
        if self.parents.pending_turns:
            mark["pending"] = dict(self.parents.pending_turns)
        if mark:
            marks["steps"][str(self.index)] = mark
        return marks


def open_flat_map(
    upstream: Stage,
    make: Callable[[], RecordFunction],
    index: int,
    step: str,
    mark: State | None,
    *,
    kind: type[FlatMapStage] = FlatMapStage,
    is_first: bool = False,
) -> FlatMapStage:
    """The stage of a `flat_map` step, going on from its `mark`; `make` gives its function, once a parent is there.

    Args:
        kind: the stage's class.
        is_first: the function is made before a parent is asked for; where that fails, it is tried each time.
    """
    parents = _Parents(upstream, make, step, mark or {}, is_first=is_first)
    stage = cast(FlatMapStage, kind.from_iterable(parents))
    stage.upstream = upstream
    stage.index = index
    stage.step = step
    stage.parents = parents
    return stage


class _Parents:
    """Feeds a `flat_map` chain: for each record of `upstream` the iterator of its children."""

    def __init__(
        self, upstream: Stage, make: Callable[[], RecordFunction], step: str, mark: State, *, is_first: bool
    ) -> None:
        self._upstream = upstream
        self._make = make
        self._function: RecordFunction | None = None
        self._is_first = is_first
        self._step = step
        self.pending: int = mark.get("emitted", 0)  # children of the parent to come that were given before the state
        self.pending_turns: dict[str, int] = dict(mark.get("pending", {}))  # the same, by number, of a merged state
        self._children: Iterator[Any] | None = None
        self._left: Iterator[Any] = iter(())  # as long as what is left to be given of `_count`
        self._count = 0
        self.ended = False

    def given(self) -> int | None:
        """How many children of the current parent were given, None when none is being gone through."""
        children = self._children
        if children is None or (isinstance(children, GeneratorType) and children.gi_frame is None):
            return None
        return self._count - length_hint(self._left)

    def __iter__(self) -> Iterator[Iterator[Any]]:
        return self

    def __next__(self) -> Iterator[Any]:
        self._children = None
        if self._is_first and self._function is None:
            try:
                self._function = self._make()
            except BaseException as error:  # noqa: BLE001 - as below
                return raise_each((explain_failure(error, self._step),))
        emitted, self.pending = self.pending, 0
        try:
            parent = next(self._upstream)
        except StopIteration:
            self.ended = True
            raise
        except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
            return raise_each((error,))
        if self.pending_turns:
            emitted = self.pending_turns.pop(str(self._upstream.turn()), emitted)
        try:
            return self._open_children(parent, emitted)
        except BaseException as error:  # noqa: BLE001 - as above
            return raise_each((explain_failure(error, self._step, self._upstream.origin().location),))

    def _open_children(self, parent: Any, emitted: int) -> Iterator[Any]:
        if self._function is None:
            self._function = self._make()
        made = self._function(parent)
        children = counted = iter_children(made, self._step)
        if type(made) is list:
            self._left, self._count = children, len(made)
        else:
            if isinstance(children, GeneratorType):
                children = guard(children, self._upstream, self._step)
            self._left, self._count = repeat(True, maxsize), maxsize
            counted = compress(children, self._left)
        if emitted:
            self._pass_over(counted, emitted)
        self._children = children
        return counted

    def _pass_over(self, counted: Iterator[Any], emitted: int) -> None:
        """Go on behind the children that were given before."""
        deque(islice(counted, emitted), maxlen=0)
        passed = self._count - length_hint(self._left)
        if passed < emitted:
            raise StateError(
                f"the state stands behind child {emitted} of a record that now has {passed}",
                where=f"step `{self._step}`",
                hint="its function must give the same children each time; start without a state",
            )
