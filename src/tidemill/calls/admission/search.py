"""A bound that nobody tells, found by asking for more until there is no more."""

from __future__ import annotations

from typing import Final, NamedTuple

NEAR_RATIO: Final = 0.9
"""Of what was once too much: up to there it grows quickly."""
UNKNOWN: Final = float("inf")


class Course(NamedTuple):
    """How a search goes on from near what was once too much.

    Attributes:
        probe_ratio: what the first round of replies adds, as a share of the value.
        growth: by how much each round adds more than the one before, up to all of the value.
        least: what a round adds at least.
    """

    probe_ratio: float
    growth: float
    least: float = 0.0


class Search:
    """A value that grows with every round of replies until something refuses it; a pure state machine.

    As long as nothing is known to be too much it grows as the replies come, so that each round doubles it or more. What
    was once too much is its mark: it is quickly back near that, and goes on from there in small steps that grow, since
    the far side may take more by now.

    Attributes:
        value: what is asked for, now.
        mark: what was too much; `UNKNOWN` while nothing was.
    """

    __slots__ = ("_course", "_probe_ratio", "mark", "value")

    def __init__(self, value: float, *, course: Course, mark: float = UNKNOWN) -> None:
        self.value = value
        self.mark = mark
        self._course = course
        self._probe_ratio = course.probe_ratio

    def grow(self, rounds: float) -> None:
        """So many rounds of replies, mostly a part of one, came without a refusal."""
        near = NEAR_RATIO * self.mark
        if self.value < near:
            self.value = min(self.value * (1 + rounds), near)
            return
        course = self._course
        self.value += max(course.least, self._probe_ratio * self.value) * rounds
        self._probe_ratio = min(1.0, self._probe_ratio * course.growth**rounds)

    def fall(self, value: float, *, mark: float, course: Course | None = None) -> None:
        """Go on from `value`, knowing that `mark` is too much; by another course from now on, if one is given."""
        self.value = value
        self.mark = mark
        self._course = course or self._course
        self._probe_ratio = self._course.probe_ratio
