"""`Marks`: what a run keeps with each payload it puts into a store, to know later which record it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Order = tuple[int, tuple[int, ...]]
"""Where a record stands in its source: its number, and its place among the children of each `flat_map`."""

MARK = "_tidemill"
"""The key of a payload that is Tidemill's own."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one run.

    Attributes:
        run_id: the run's: what another run put in stands nowhere in this one's source.
        are_compared: whether a later record may be in the store already, put in by an earlier sitting: in a retry.
    """

    run_id: str
    are_compared: bool

    def make(self, order: Order) -> list[Any]:
        """The mark of a record, as JSON."""
        number, path = order
        return [self.run_id, number, *path]

    def find(self, payload: Mapping[str, Any]) -> Order | None:
        """Where the record stands that a payload is of; None where it is of no record of this run."""
        mark = payload.get(MARK)
        if not isinstance(mark, list) or len(mark) < 2 or mark[0] != self.run_id:
            return None
        return mark[1], tuple(mark[2:])


def hide_mark(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload as it was given."""
    shown = dict(payload)
    shown.pop(MARK, None)
    return shown
