"""Stages that pick records by their number, `take`, `skip`, `every`, `sample`, or give them until it is enough."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import compress, islice, repeat
from operator import length_hint
from sys import maxsize
from typing import Any, cast

from tidemill.data.stages.stage import FedStage, Stage
from tidemill.protocols import State

Picks = Callable[[int], Iterator[Any]]
"""From a record's number on, whether each record is given; without end."""


class PickStage(Stage):
    """The records that are picked; every record is counted by the tick it takes."""

    index: int
    seen_before: int
    ticks: repeat[bool]

    def marks(self, back: int) -> State:
        marks = self.upstream.marks(back)
        seen = self.seen_before + maxsize - length_hint(self.ticks) - back
        if seen:
            marks["steps"][str(self.index)] = {"seen": seen}
        return marks


def open_pick(upstream: Stage, index: int, step: str, picks: Picks, mark: State | None) -> Stage:
    """The stage that gives the records `picks` says, going on from its `mark`."""
    seen = mark["seen"] if mark else 0
    ticks = repeat(True, maxsize)
    picked = compress(compress(upstream, ticks), picks(seen))
    stage = cast(PickStage, PickStage.from_iterable(iter((picked,))))
    stage.upstream = upstream
    stage.index = index
    stage.step = step
    stage.seen_before = seen
    stage.ticks = ticks
    return stage


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


def open_take(upstream: Stage, index: int, step: str, count: int, mark: State | None) -> Stage:
    """The stage of a `take` step, going on from its `mark`."""
    ticks = repeat(True, count - (mark["taken"] if mark else 0))
    stage = cast(TakeStage, TakeStage.from_iterable(_iter_takes(upstream, ticks)))
    stage.upstream = upstream
    stage.index = index
    stage.step = step
    stage.count = count
    stage.ticks = ticks
    return stage


def _iter_takes(upstream: Stage, ticks: repeat[bool]) -> Iterator[Iterator[Any]]:
    """An error ends an `islice`, not the stream: go on with another of what is left."""
    counted = compress(upstream, ticks)
    while (left := length_hint(ticks)) and not upstream.ended():
        yield islice(counted, left)


def open_until(upstream: Stage, step: str, is_enough: Callable[[], bool]) -> Stage:
    """The stage that gives records until `is_enough`, asked in front of each."""
    feeder = _iter_until(upstream, is_enough)
    stage = cast(FedStage, FedStage.from_iterable(feeder))
    stage.upstream = upstream
    stage.step = step
    stage.feeder = feeder
    return stage


def _iter_until(upstream: Stage, is_enough: Callable[[], bool]) -> Generator[Iterator[Any]]:
    while not (upstream.ended() or is_enough()):
        yield islice(upstream, 1)
