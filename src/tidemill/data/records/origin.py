"""Where a record came from: the file, the place in it, and the steps it went through."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidemill.protocols import State


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record came from.

    Attributes:
        part: the file, or what else the source calls a part; empty before the first record.
        place: where in it the record begins: `byte 1041`, `row 12`, `item 3`; empty when that is unknown.
        steps: the steps it went through, in order, with the number of a child or an epoch behind their names.
        records: of a batch or another gathered record, where each of its records came from.
    """

    part: str
    place: str = ""
    steps: tuple[str, ...] = ()
    records: tuple[Origin, ...] = ()

    def through(self, step: str) -> Origin:
        """The origin of what `step` made of it."""
        return replace(self, steps=(*self.steps, step))

    @property
    def location(self) -> str:
        """Part and place alone."""
        return f"{self.part}, {self.place}" if self.place else self.part

    def __str__(self) -> str:
        text = self.location
        if len(self.records) > 1:
            text = f"{text} to {self.records[-1].location} ({len(self.records):,} records)"
        return f"{text}: {', '.join(self.steps)}" if self.steps else text


def describe_position(state: State | None) -> str:
    """Where a reader's state stands, in words."""
    for key, word in (("offset", "byte"), ("row", "row"), ("count", "item")):
        if state is not None and key in state:
            return f"{word} {state[key]}"
    return ""


def gather_origins(origins: tuple[Origin, ...], step: str) -> Origin:
    """The origin of what `step` made of several records."""
    first = origins[0] if origins else Origin("")
    return Origin(first.part, first.place, (*first.steps, step), origins)
