"""A source part as the reading side of a job takes it: record by record, with its place and its books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tidemill.data.failing.failures import stop_iteration_error
from tidemill.data.failing.policy import is_of_record
from tidemill.errors import DataError
from tidemill.jobs.records.chunk import PartPosition
from tidemill.jobs.records.counts import EMITTED, IN, PASSED, Counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.protocols import Source, State

END: Any = object()
"""What is read at the end of a part."""


class PartRecords(Protocol):
    """The records of a part, and where it stands. Used by one thread at a time."""

    def read(self) -> Any:
        """The next record or `Failure`; `END` at the end. Raises what is no record's own failure."""
        ...

    def state(self) -> State:
        """Where the part stands."""
        ...

    def mark(self) -> None:
        """Note that `before` may be asked behind the record read next."""
        ...

    def before(self) -> State:
        """Where the part stood in front of the record read last."""
        ...

    def add_counts(self, counts: Counts) -> None:
        """Add what was taken and given since this was called last; failures are counted where they are judged."""
        ...

    def take_passed(self) -> Sequence[PartPosition]:
        """The ends of the source's own parts that were come to since."""
        ...

    def close(self) -> None:
        """Close what is open; may be called twice."""
        ...


class SourcePart:
    """A part of the source itself."""

    def __init__(self, source: Source, position: PartPosition) -> None:
        try:
            self._iterator = source.open_part(position.name, position.state)
        except StopIteration as exc:  # no future takes it, and an end it is not
            raise stop_iteration_error("source") from exc
        self._before = self._iterator.state()  # one that keeps track only where it is asked to does so from here on
        self._given = self._failed = 0

    def read(self) -> Any:
        try:
            record = next(self._iterator)
        except StopIteration:
            return END
        except DataError as exc:
            if not is_of_record(exc):
                raise
            self._failed += 1
            return Failure(0, exc, raw=exc.raw, restorable=exc.raw is not None and not exc.is_cut)
        self._given += 1
        return record

    def state(self) -> State:
        return self._iterator.state()

    def mark(self) -> None:
        self._before = self._iterator.state()

    def before(self) -> State:
        return self._before

    def add_counts(self, counts: Counts) -> None:
        counts[0][IN] += self._given + self._failed
        counts[0][PASSED] += self._given
        counts[0][EMITTED] += self._given
        self._given = self._failed = 0

    def take_passed(self) -> Sequence[PartPosition]:
        return ()

    def close(self) -> None:
        self._iterator.close()
