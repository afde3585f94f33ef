"""A look at what comes out of steps: it ends when its time is over, also where they hold records back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tidemill.data.nodes.across import Until
from tidemill.data.nodes.keeping import Join, Other, find_other
from tidemill.data.nodes.node import Node
from tidemill.data.sources.rows import find_folded
from tidemill.protocols import Source


@dataclass(slots=True)
class Glance:
    """How much is read for a look. Its time begins with the first record; used by one thread at a time.

    Attributes:
        seconds: that it takes, about; what a function has begun is waited for.
        fewest: records that are read in any case.
        most: records of the source that are read.
        beside_s: seconds that what a join reads beside the records takes, about; None reads it whole.
        asked: records of the source that were asked for.
        is_cut: whether its time was over while there may have been more.
    """

    seconds: float
    fewest: int = 1
    most: int = sys.maxsize
    beside_s: float | None = None
    asked: int = 0
    is_cut: bool = False
    _beside: list[Glance] = field(default_factory=list, repr=False)
    _began_at: float | None = field(default=None, repr=False)

    @property
    def took_s(self) -> float:
        """Seconds since its first record."""
        return 0.0 if self._began_at is None else time.monotonic() - self._began_at

    @property
    def is_beside_cut(self) -> bool:
        """Whether what a join reads beside the records took longer, and was ended."""
        return any(beside.is_cut or beside.is_beside_cut for beside in self._beside)

    def goes_on(self, given: int) -> bool:
        """Whether to ask for another of the records that come out, so many of which have.

        What was held when the time was over may take as much again.
        """
        is_over = given >= self.fewest and self.took_s >= self.seconds * (2 if self.is_cut else 1)
        self.is_cut = self.is_cut or is_over
        return not is_over

    def bound_steps(self, source: Source, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The steps with ends in front: of all behind what chooses rows by number, and of those that hold records."""
        at = 1 + max(find_folded(source, nodes), default=-1)
        bounded = [*nodes[:at], Until(fn=self._ends_first)]
        for node in nodes[at:]:
            if not node.record_wise:
                bounded.append(Until(fn=self._make_end()))
            bounded.append(self._bound_beside(node) if isinstance(node, Join) else node)
        return tuple(bounded)

    def _bound_beside(self, node: Join) -> Node:
        if self.beside_s is None:
            return node
        beside = Glance(self.beside_s, beside_s=self.beside_s)
        self._beside.append(beside)
        source, nodes = find_other(node)
        return node.model_copy(update={"other": Other(source, beside.bound_steps(source, nodes))})

    def _ends_first(self) -> bool:
        if self.asked >= self.most or self._is_over(self.asked):
            return True
        self.asked += 1
        return False

    def _make_end(self) -> Callable[[], bool]:
        """Whether what is asked for at one place is over."""
        asked = 0

        def is_over() -> bool:
            nonlocal asked
            asked += 1
            return self._is_over(asked - 1)

        return is_over

    def _is_over(self, asked: int) -> bool:
        if self._began_at is None:
            self._began_at = time.monotonic()
        if asked < self.fewest or self.took_s < self.seconds:
            return False
        self.is_cut = True
        return True
