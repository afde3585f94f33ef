"""What each step of a pipeline took and gave, for who keeps books: stages that count what passes between two steps.

A count is part of the state of its stage, absolute from the very start. So where a step that holds records goes on
from an anchor, the steps in front of it count on from what they had counted there, and what is read again is not
counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, compress, repeat
from operator import length_hint
from sys import maxsize
from typing import Any, cast

from tidemill.data.failing.policy import SOURCE
from tidemill.data.records.origin import Origin
from tidemill.data.stages.stage import Stage
from tidemill.errors import DataError, ResourceError, TidemillError, WorkerError
from tidemill.protocols import State

Counts = tuple[tuple[int, int], ...]
"""Of the source and each step: records given, and records that were given nothing for."""

BROKEN_OFF = "the source broke off"
"""Says the error whose cause a source raised."""


class Counter:
    """What came through behind one step, each record counted by the tick it takes.

    Attributes:
        emptied: records that the step, one that gives many for each, gave nothing for.
    """

    def __init__(self) -> None:
        self.ticks = repeat(True, maxsize)
        self.emptied = 0
        self._given_before = 0

    @property
    def given(self) -> int:
        """Records given."""
        return self._given_before + maxsize - length_hint(self.ticks)

    def load(self, mark: list[int] | None) -> None:
        """Count on from what a state says."""
        self._given_before, self.emptied = mark or (0, 0)
        self.ticks = repeat(True, maxsize)


@dataclass(frozen=True, slots=True)
class Tally:
    """The counters of a pipeline: one behind the source, and one behind each step.

    They belong to the pipeline, not to its stages: those in front of a `repeat` are opened anew for each epoch.

    Attributes:
        passed: each part that was read to its end, and the state of its reader there, for who looks at them.
    """

    counters: tuple[Counter, ...]
    passed: list[tuple[str, State]] = field(default_factory=list)

    def open(self, upstream: Stage, index: int, state: State | None) -> Stage:
        """The stage that counts what `upstream`, step number `index` from 1 on or for 0 the source, gives."""
        counter = self.counters[index]
        if state is not None:
            counter.load(state["steps"].get(_key(index)))
        records = upstream if index else chain.from_iterable(_iter_told(upstream))
        stage = cast(TallyStage, TallyStage.from_iterable(iter((compress(records, counter.ticks),))))
        stage.upstream = upstream
        stage.index = index
        stage.counter = counter
        return stage


class TallyStage(Stage):
    """The records of the stage in front, counted."""

    index: int
    counter: Counter

    def counts(self) -> Counts:
        return (*self.upstream.counts(), (self.counter.given, self.counter.emptied))

    def marks(self, back: int) -> State:
        marks = self.upstream.marks(back)
        given, emptied = self.counter.given, self.counter.emptied
        if given or emptied:
            marks["steps"][_key(self.index)] = [given - back, emptied]
        return marks

    def describe(self, spot: Any) -> Origin:
        return self.upstream.describe(spot)

    def explain(self) -> Origin:
        return self.upstream.explain()


def _key(index: int) -> str:
    return f"{index}#"


def _iter_told(upstream: Stage) -> Iterator[Iterator[Any]]:
    yield _tell(upstream)
    while not upstream.ended():
        yield _tell(upstream)


def _tell(upstream: Stage) -> Iterator[Any]:
    """The records of the source; any failure of a record in there is one at the step `source`.

    Joined streams have steps and sources of their own. A source that raised what is no record's failure broke off:
    going on behind it would take that for its end.
    """
    try:
        for record in upstream:  # noqa: UP028 - `yield from` would close the reader in whatever thread drops it
            yield record
    except GeneratorExit:
        raise
    except TidemillError as error:
        cause = _find_cause(error)
        error.step = SOURCE
        if cause is not None:
            broken = ResourceError(BROKEN_OFF)
            broken.step = SOURCE
            raise broken from cause
        raise


def _find_cause(error: TidemillError) -> BaseException | None:
    """What a source broke off with; None where a record failed, or the error says it itself."""
    if error.step not in ("", SOURCE):
        return None
    if isinstance(error, WorkerError):
        return error
    return error.__cause__ if isinstance(error, DataError) and error.is_foreign else None
