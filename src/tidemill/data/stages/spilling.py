"""What a `sort` and a `group_by` share: all is read first, memory holds what it can, and the rest goes to disk in runs.

Where memory holds all there is nothing is written, and the anchor stays at the start. Else it moves with each run, and
then from block to block of what the merge gives: its `own` is first how many runs there are, then where each stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any, ClassVar

from tidemill.data.failing.failures import NO_RECORD
from tidemill.data.kept.checked import HEAD_BYTES
from tidemill.data.kept.runs import Runs
from tidemill.data.stages.anchored import Anchor
from tidemill.data.stages.stage import Stage
from tidemill.protocols import State

ENTRY_BYTES = 200
"""What an entry in memory takes besides its bytes: two objects' heads, the tuple and its place."""

GIVEN = 1024
"""Values given at a time, and given again at most when a state is gone on from."""


class Spiller(ABC):
    """Takes in what the stage in front gives, and gives its own values behind; one for each time that it is opened.

    Args:
        memory: bytes that it holds at most, about.
        given: the runs that it gives in the end, of `(key, value)`.

    Attributes:
        start: what its state begins as, besides the runs written.
    """

    start: ClassVar[State] = {}

    def __init__(self, memory: int, given: Runs) -> None:
        self._memory = memory
        self._given = given

    def feed(self, upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        """The values in order, behind the failures of the records."""
        own = anchor.own or {"runs": 0, "check": "", **self.start}
        if "heads" not in own:
            self._resume(own)
            yield from self._read(upstream, anchor, own)
            if not anchor.own:
                held = self._iter_held()
                while block := list(islice(held, GIVEN)):
                    yield anchor.link(block)
                return
            own = self._spill(anchor.own)
            level, count, check = self._arrange(own["runs"], own["check"])
            own = {"level": level, "heads": [HEAD_BYTES] * count, "check": check}
            anchor.move(own)
        with self._given.open(own["level"], 0, len(own["heads"]), own["heads"], own["check"]) as merged:
            values = (self._make_value(value) for _, value, _ in merged)
            while block := list(islice(values, GIVEN)):
                yield anchor.link(block)
                anchor.move_to(anchor.place, {**own, "heads": list(merged.heads)})

    def _read(self, upstream: Stage, anchor: Anchor, own: State) -> Generator[Iterator[Any]]:
        """Read all there is into memory, and from there into runs; gives the failures."""
        size = 0
        record: Any = NO_RECORD
        while True:
            failed: Iterator[Any] | None = None
            try:
                for record in upstream:
                    size += self._add(record)
                    record = NO_RECORD
                    if size >= self._memory:
                        break
                else:
                    return
            except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
                failed = anchor.error(error, record)
                record = NO_RECORD
            if failed is not None:
                yield failed
                continue
            own = self._spill(own)
            anchor.move(own)
            size = 0

    def _spill(self, own: State) -> State:
        """Write what is held as the next run; gives the state behind it."""
        check = self._write_held(own["runs"], own["check"])
        return {**own, **self._describe(), "runs": own["runs"] + 1, "check": check}

    @abstractmethod
    def _resume(self, own: State) -> None:
        """Go on reading from a state."""

    @abstractmethod
    def _describe(self) -> State:
        """What the state says besides the runs written."""

    @abstractmethod
    def _add(self, record: Any) -> int:
        """Hold a record; gives the bytes that it takes."""

    @abstractmethod
    def _write_held(self, number: int, before: str) -> str:
        """Write what is held as a run, behind the one of this check; gives its own. Nothing is held any more."""

    @abstractmethod
    def _iter_held(self) -> Iterator[Any]:
        """The values, where memory holds all there is."""

    @abstractmethod
    def _arrange(self, count: int, check: str) -> tuple[int, int, str]:
        """From the runs written, those that are given: their level, how many they are, and their check."""

    def _make_value(self, value: Any) -> Any:
        """What is given of a value of the runs."""
        return value
