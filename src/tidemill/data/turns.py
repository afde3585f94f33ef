"""Whose turn each record of a sharded stream is, also where ranks that stood at different places share out the rest.

The records in front of a shard are numbered from 0. Ranks take turns. When the states of all ranks are merged to go on
with another number of them, what was given is a *layer*: the records that are left, numbered anew, are shared out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, repeat
from typing import Any

from tidemill.protocols import State

_ROUND = 1024
"""Numbers of the longest round that is held as a list, which is faster: by 2 ns a number in such a round, by 65 in one
of two (docs/lab-notes.md)."""


def iter_turns(first: int, every: int, start: int) -> Iterator[bool]:
    """Whether each number from `start` on is one of `first`, `first + every`, …; without end, in constant memory."""
    wait = first - start if start < first else (first - start) % every
    return chain(repeat(False, wait), _iter_rounds(every))


def _iter_rounds(every: int) -> Iterator[bool]:
    if every <= _ROUND:
        return cycle([True, *[False] * (every - 1)])
    return chain.from_iterable(part for _ in repeat(None) for part in ((True,), repeat(False, every - 1)))


@dataclass(frozen=True, slots=True)
class Layer:
    """What the ranks of one world were given.

    Attributes:
        done: for each rank the number below which its records were given.
    """

    done: tuple[int, ...]

    @property
    def world(self) -> int:
        """How many ranks there were."""
        return len(self.done)

    @property
    def end(self) -> int:
        """The number from which on none was given."""
        return max(self.done)

    def is_left(self, number: int) -> bool:
        """Whether the record of this number was not given."""
        return number >= self.done[number % self.world]

    def count_left(self, number: int) -> int:
        """How many records below this number were not given: the new number of the record, if it is left itself."""
        world = self.world
        total = 0
        for rank, done in enumerate(self.done):
            total += max(0, _count_turns(number, rank, world) - _count_turns(done, rank, world))
        return total

    def find_number(self, left: int) -> int:
        """The number of the record that has the number `left` among those that were not given."""
        number = left
        while not (self.is_left(number) and self.count_left(number) == left):
            number += max(1, left - self.count_left(number))
        return number


def _count_turns(number: int, rank: int, world: int) -> int:
    """How many numbers below `number` are a rank's."""
    return max(0, (number - rank + world - 1) // world)


class Turns:
    """The turns of one rank among `world`, over what the layers leave.

    Args:
        layers: of earlier worlds, the first of them first.
    """

    __slots__ = ("layers", "rank", "world")

    def __init__(self, rank: int, world: int, layers: Sequence[Layer] = ()) -> None:
        self.rank = rank
        self.world = world
        self.layers = tuple(layers)

    def find(self, start: int, count: int) -> range | list[int]:
        """Which of `count` records, the first of which has the number `start`, are this rank's: places from 0."""
        turn, is_past = start, True
        for layer in self.layers:
            is_past = is_past and turn >= layer.end
            turn = layer.count_left(turn)
        if is_past:
            return range((self.rank - turn) % self.world, count, self.world)
        return [place for place in range(count) if self.is_own(start + place)]

    def is_own(self, number: int) -> bool:
        """Whether the record of this number is this rank's."""
        return self.is_left(number) and self.count_turn(number) % self.world == self.rank

    def is_left(self, number: int) -> bool:
        """Whether the record of this number was given in no earlier world."""
        for layer in self.layers:
            if not layer.is_left(number):
                return False
            number = layer.count_left(number)
        return True

    def count_turn(self, number: int) -> int:
        """The number of a record among those that all layers leave."""
        for layer in self.layers:
            number = layer.count_left(number)
        return number

    def find_next(self, number: int) -> int:
        """The first of this rank's numbers from `number` on."""
        while not self.is_own(number):
            number += 1
        return number

    def find_number(self, turn: int) -> int:
        """The number of the record that has this number among those that all layers leave."""
        for layer in reversed(self.layers):
            turn = layer.find_number(turn)
        return turn

    @property
    def ragged_end(self) -> int:
        """A number from which on no layer leaves anything out."""
        number = 0
        for depth in range(len(self.layers)):
            number = max(number, _find_number(self.layers[:depth], self.layers[depth].end))
        return number


def _find_number(layers: Sequence[Layer], turn: int) -> int:
    """A number whose number behind `layers` is at least `turn`."""
    for layer in reversed(layers):
        turn = max(layer.end, turn + layer.end)
    return turn


class Share:
    """The turns of one rank over the outcomes of a source, counted as they are read. Used by one reader at a time.

    Attributes:
        turns: whose they are.
        seen: how many were read, of any rank: the number of the next one.
    """

    __slots__ = ("seen", "turns")

    def __init__(self, turns: Turns, seen: int) -> None:
        self.turns = turns
        self.seen = seen

    def take(self, count: int) -> range | list[int]:
        """Which of the next `count` outcomes are the rank's: places from 0; all of them are counted."""
        places = self.turns.find(self.seen, count)
        self.seen += count
        return places


def load_layers(mark: State | None) -> tuple[Layer, ...]:
    """The layers in a step's part of a state."""
    return tuple(Layer(tuple(done)) for done in (mark or {}).get("layers", ()))


def dump_layers(layers: Sequence[Layer]) -> dict[str, Any]:
    """The layers as a step's part of a state; empty without any."""
    return {"layers": [list(layer.done) for layer in layers]} if layers else {}
