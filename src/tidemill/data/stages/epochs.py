"""The stage of a `repeat`: all in front of it, gone through again and again, each epoch in orders of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import compress, repeat
from operator import length_hint
from sys import maxsize
from typing import Any, cast

from tidemill.data.nodes.across import Repeat
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin
from tidemill.data.stages.stage import Stage
from tidemill.protocols import State

OpenEpoch = Callable[[State | None, int], Stage]
"""Opens the stages in front for one epoch, at their start or at a state."""


class EpochStage(Stage):
    """The records of each epoch; its state is that within the epoch, its number, and how many it gave."""

    index: int
    going: _Turn

    def ended(self) -> bool:
        return self.going.is_over

    def spot(self) -> Any:
        return self.going.epoch, self.going.upstream.spot()

    def describe(self, spot: Any) -> Origin:
        epoch, inner = spot
        return self.going.upstream.describe(inner).through(f"{self.step} epoch {epoch}")

    def counts(self) -> Any:
        return self.going.upstream.counts()

    def gathers(self) -> bool:
        return self.going.upstream.gathers()

    def explain(self) -> Origin:
        return self.going.upstream.explain().through(f"{self.step} epoch {self.going.epoch}")

    def marks(self, back: int) -> State:
        marks = self.going.upstream.marks(back)
        given = self.going.given() - back
        if given or self.going.epoch != self.going.first:
            marks["steps"][str(self.index)] = {"epoch": self.going.epoch, "given": given}
        return marks

    def close(self) -> None:
        self.going.upstream.close()

    def turn(self) -> int | None:
        return self.going.upstream.turn()


class _Turn:
    """Which epoch it is, and its stages; shared by the stage and the generator that feeds it."""

    def __init__(self, upstream: Stage, mark: State | None, node: Repeat) -> None:
        self.upstream = upstream
        self.epoch: int = mark["epoch"] if mark else node.start
        self.epochs = node.epochs
        self.first = node.start
        self.is_over = False
        self._given_before: int = mark["given"] if mark else 0
        self._ticks = repeat(True, maxsize)

    def given(self) -> int:
        """Records given in this epoch."""
        return self._given_before + maxsize - length_hint(self._ticks)

    def begin(self) -> Iterator[Any]:
        """The records of the epoch, from where it stands, counted by the ticks they take."""
        return compress(self.upstream, self._ticks)

    def go_on(self, upstream: Stage) -> None:
        """The next epoch, from its start."""
        self.upstream = upstream
        self.epoch += 1
        self._given_before = 0
        self._ticks = repeat(True, maxsize)

    @property
    def is_last(self) -> bool:
        return self.epochs is not None and self.epoch >= self.first + self.epochs - 1


def open_epochs(open_epoch: OpenEpoch, index: int, step: str, node: Repeat, state: State | None) -> Stage:
    """The stage of a `repeat` step, going on from `state`.

    An epoch without any record is the last: an empty stream repeated stays empty.
    """
    mark = state["steps"].get(str(index)) if state else None
    turn = _Turn(open_epoch(state, mark["epoch"] if mark else node.start), mark, node)
    stage = cast(EpochStage, EpochStage.from_iterable(_iter_epochs(open_epoch, turn)))
    stage.index = index
    stage.step = step
    stage.going = turn
    return stage


def _iter_epochs(open_epoch: OpenEpoch, turn: _Turn) -> Iterator[Iterator[Any]]:
    failed: Iterator[Any] | None = None
    while turn.epochs != 0:
        yield turn.begin()
        if turn.is_last or not turn.given():
            break
        turn.upstream.close()
        try:
            turn.go_on(open_epoch(None, turn.epoch + 1))
        except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
            failed = raise_each((error,))
            break
    if failed is not None:
        yield failed
    turn.is_over = True
