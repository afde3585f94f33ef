"""The stage of a `shard`: the records that are one rank's turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, compress, repeat
from operator import length_hint
from sys import maxsize
from typing import Any, cast

from tidemill.data.stages.stage import Stage
from tidemill.data.turns import Turns, dump_layers, iter_turns, load_layers
from tidemill.protocols import State

_AHEAD = 1024
"""Turns worked out at a time where some records were given before."""


class ShardStage(Stage):
    """The records of one rank; every record is counted by the tick it takes."""

    index: int
    seen_before: int
    ticks: repeat[bool]
    turns: Turns

    def marks(self, back: int) -> State:
        marks = self.upstream.marks(back)
        seen = self._count_seen() - back
        marks["steps"][str(self.index)] = {"seen": seen, **dump_layers(self.turns.layers)}
        return marks

    def turn(self) -> int | None:
        return self._count_seen() - 1

    def _count_seen(self) -> int:
        return self.seen_before + maxsize - length_hint(self.ticks)


def open_shard(upstream: Stage, index: int, step: str, rank: int, world: int, mark: State | None) -> Stage:
    """The stage of a `shard` step, going on from its `mark`."""
    seen = mark["seen"] if mark else 0
    turns = Turns(rank, world, load_layers(mark))
    ticks = repeat(True, maxsize)
    picked = compress(compress(upstream, ticks), _iter_turns(turns, seen))
    stage = cast(ShardStage, ShardStage.from_iterable(iter((picked,))))
    stage.upstream = upstream
    stage.index = index
    stage.step = step
    stage.seen_before = seen
    stage.ticks = ticks
    stage.turns = turns
    return stage


def _iter_turns(turns: Turns, start: int) -> Iterator[Any]:
    """From a number on, whether each record is the rank's; without end."""
    ragged = max(0, turns.ragged_end - start)
    regular = iter_turns(turns.rank, turns.world, turns.count_turn(start + ragged))
    return chain(map(turns.is_own, range(start, start + ragged)), regular)
