"""Two ways measured in turn, round by round: what one takes over what the other does."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tables import Target

Rounds = Sequence[tuple[float, ...]]
"""What a way took in each round: seconds of wall time, then of CPU, of each process that works for it."""


@dataclass(frozen=True)
class Ratio:
    """Medians over the rounds, each round compared with itself: a machine that gets slower slows both."""

    wall: float
    cpu: float

    @classmethod
    def from_rounds(cls, mine: Rounds, its: Rounds) -> Ratio:
        pairs = list(zip(mine, its, strict=True))
        return cls(
            statistics.median(one[0] / other[0] for one, other in pairs),
            statistics.median(sum(one[1:]) / sum(other[1:]) for one, other in pairs),
        )

    def judge(self, name: str, beside: str, most: float) -> Target:
        """Met where both are at most that much of the other's."""
        told = f"{self.wall:.2f}x the wall and {self.cpu:.2f}x the CPU of {beside}"
        return Target(name, told, f"within {most}x", max(self.wall, self.cpu) <= most)
