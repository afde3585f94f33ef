"""Which outcomes of the stage in front were given, where they need not be given in the order they were read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidemill.data.parallel.flight import Flight
from tidemill.data.records.origin import Origin
from tidemill.data.stages import anchored
from tidemill.data.stages.stage import Stage
from tidemill.protocols import State


class Progress:
    """Counts outcomes from an anchor, and knows those that were read and not given: never more than are in flight.

    The anchor follows in leaps of `ANCHOR_RECORDS`: the place where the stage in front stands is kept, and becomes the
    anchor when all that was read before it is given.

    Attributes:
        read: outcomes read.
    """

    def __init__(self, upstream: Stage, mark: State | None) -> None:
        self.read = 0
        self._upstream = upstream
        self._marks = upstream.marks(0)
        self._anchor = 0  # the number of the first outcome behind the anchor
        self._open: dict[int, Flight] = {}
        self._last = -1  # the number of the outcome settled last
        self._ahead: tuple[State, int] | None = None  # a place further on, and the first number behind it
        self._before_ahead = 0  # how many are open and were read before that place
        self._mark = mark or None  # where the state stood, until it is reached
        self._done: int = mark["done"] if mark else 0
        self._holes = frozenset(mark.get("holes", ())) if mark else frozenset()

    def add(self, flight: Flight) -> None:
        """It was read."""
        self._open[self.read] = flight
        self.read += 1

    def settle(self, flight: Flight) -> None:
        """It is given, or passed over for good."""
        del self._open[flight.number]
        self._last = flight.number
        if self._ahead is not None and flight.number < self._ahead[1]:
            self._before_ahead -= 1

    def advance(self) -> None:
        """Let the anchor follow, if it can; in front of a settling, so that one step back is still behind it."""
        if self._ahead is None and self.read - self._anchor >= anchored.ANCHOR_RECORDS:
            self._ahead = (self._upstream.marks(0), self.read)
            self._before_ahead = len(self._open)
        if self._ahead is not None and not self._before_ahead:
            self._marks, self._anchor = self._ahead
            self._ahead = None

    def is_behind(self) -> bool:
        """Whether a state that was gone on from stands further on yet."""
        if self._mark is not None and self.read >= self._done:
            self._mark = None
            self._last = -1
        return self._mark is not None

    def missing(self) -> int:
        """How many outcomes further on it stands."""
        return self._done - self.read

    def was_given(self, flight: Flight) -> bool:
        """Whether it was given before that state was taken."""
        return flight.number not in self._holes

    def find(self, number: int) -> tuple[State, int]:
        """From where, and behind how many others, the outcome of this number can be read again."""
        return self._marks, number - self._anchor

    def marks(self, index: int, back: int) -> State:
        """The state; with `back=1`, in front of the outcome given last."""
        steps = dict(self._marks["steps"])
        mark = self._mark or self._count(back)
        if mark["done"]:
            steps[str(index)] = mark
        return {**self._marks, "steps": steps}

    def _count(self, back: int) -> State:
        missing = set(self._open)
        if back and self._last >= self._anchor:
            missing.add(self._last)
        done = self.read
        while done - 1 in missing:
            done -= 1
        holes = sorted(number - self._anchor for number in missing if number < done)
        return {"done": done - self._anchor, **({"holes": holes} if holes else {})}


def iter_outcomes(upstream: Stage) -> Iterator[tuple[Any, BaseException | None]]:
    """What `upstream` gives, each record or error as a value.

    An error that is held has a traceback, and that the frames of whoever read: the consumer's, and so the iterator
    itself, which would then not end when it is dropped. The frame of a generator at rest has none behind it.
    """
    held: list[tuple[Any, BaseException | None]] = []  # no local name: this frame is in the traceback, too
    while True:
        try:
            held.append((next(upstream), None))
        except StopIteration:
            return
        except BaseException as error:  # noqa: BLE001 - an outcome at its place, or raised by who asked
            held.append((None, error))
        yield held.pop()


def explain_again(upstream: Stage, passed: int) -> Origin:
    """Where the outcome behind `passed` others came from; `upstream` is read up to it, and closed."""
    for _ in range(passed + 1):
        try:
            next(upstream, None)
        except Exception:  # noqa: BLE001 - an outcome at its place, as it was then
            continue
    found = upstream.explain()
    upstream.close()
    return found
