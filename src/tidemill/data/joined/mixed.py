"""Streams mixed by weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

from tidemill.data.flow import Flow
from tidemill.data.joined.joined import Joined, JoinedReader, Members, open_joined
from tidemill.data.order import choose_ratio
from tidemill.errors import ConfigError
from tidemill.protocols import State

Stop = Literal["first", "all", "longest"]
"""When a mix ends: with the first stream that ends, when all have ended, or when the longest has, while those that
ended before begin again."""


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

    def _draw(self, members: Members) -> Iterator[Any]:
        while (index := self._choose(members)) is not None:
            try:
                record = members.take(index, [members.own[0] + 1])
            except StopIteration:
                self._end(members, index)
            else:
                yield record

    def _choose(self, members: Members) -> int | None:
        """Whose turn it is; None when all have ended."""
        if self.stop == "longest" and all(
            epoch or ended or not weight
            for epoch, ended, weight in zip(members.epochs, members.ended, self.weights, strict=True)
        ):
            return None
        weights = [0.0 if ended else weight for weight, ended in zip(self.weights, members.ended, strict=True)]
        place = choose_ratio(self.seed, members.own[0]) * sum(weights)
        for index, weight in enumerate(weights):
            place -= weight
            if place < 0:
                return index
        return None

    def _end(self, members: Members, index: int) -> None:
        """What the end of one stream means for all."""
        if self.stop == "first":
            members.ended = [True] * len(self.flows)
        elif self.stop == "all" or members.fresh[index]:
            members.ended[index] = True
        else:
            members.begin_again(index)
